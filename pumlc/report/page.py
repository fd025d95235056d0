"""An HTML page in one file that loads nothing and runs no script but its own."""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from pumlc.files import complete_file

_TEMPLATES = "templates"
# as \u escapes in JSON, so that no text can end the element that holds it
_UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("pumlc.report", _TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> str:
    """The text of a script or style sheet of the package."""
    return (files("pumlc.report") / _TEMPLATES / name).read_text("utf-8")


def safe_json(content: Any) -> str:
    """JSON for a data element of a page: no ``<``, ``>`` or ``&`` in it, no nan.

    Example:
        >>> safe_json({"name": "</script>"})
        '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def content_security_policy(script: str | None, style: str) -> str:
    """A policy under which a page shows its own pictures and runs its own script, and no more."""
    allowed = "'none'" if script is None else _source(script)
    return (
        f"default-src 'none'; img-src data:; script-src {allowed}; "
        f"style-src {_source(style)}; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def write_page(
    path: Path | str, template: str, *, script: str | None, style: str, **values: Any
) -> None:
    """Render a template with its script and style sheet into one file, complete or not at all.

    Args:
        path: the file.
        template: name of the template; it gets ``values``, ``script``, ``style`` and ``policy``.
        script: name of the script; None: the page has none.
        style: name of the style sheet.
        values: what the template shows; text is escaped.
    """
    script_text, style_text = None if script is None else asset(script), asset(style)
    page = _environment().get_template(template)
    stream = page.generate(
        script=script_text,
        style=style_text,
        policy=content_security_policy(script_text, style_text),
        **values,
    )
    with complete_file(path) as file:
        for part in stream:  # pictures may be many: the page is never one string
            file.write(part)
