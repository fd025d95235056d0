"""The reference has every public name: a build warns of one that no page describes.

A name is public if the ``__all__`` of a module lists it. The pages name constants one by one, since
autodoc leaves out those of another module; their text is that below their definition.
"""

import inspect
import re
import sys
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

import pumlc

_LISTS_NAMES = re.compile(r"^(__getattr__, __dir__, )?__all__ = ", re.MULTILINE)


def public_names() -> Iterator[str]:
    """Every name in an ``__all__`` of the package, with its module; modules are left out."""
    root = Path(pumlc.__file__).parent
    for file in sorted(root.rglob("*.py")):
        if _LISTS_NAMES.search(file.read_text("utf-8")):
            parts = file.relative_to(root.parent).with_suffix("").parts
            module = import_module(".".join(parts).removesuffix(".__init__"))
            for name in module.__all__:
                if not name.startswith("_") and not inspect.ismodule(getattr(module, name)):
                    yield f"{module.__name__}.{name}"


def missing_names(described: Collection[str]) -> list[str]:
    """The public names that are not among the described ones."""
    return [name for name in public_names() if name not in described]


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of the missing names; in a strict build that is an error."""
    for name in missing_names(set(env.get_domain("py").data["objects"])):
        logging.getLogger(__name__).warning("no page of the reference describes %s", name)


def text_below(name: str, value: Any) -> list[str]:
    """The documentation of a constant, from the module of the package that defines it."""
    for module in [m for m in sys.modules if m == "pumlc" or m.startswith("pumlc.")]:
        if vars(sys.modules[module]).get(name) is not value:
            continue
        try:
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
        except PycodeError:
            continue
        if found:
            return list(found)
    return []


def document_constant(
    app: Sphinx, kind: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Give a constant its text, and not that of its type."""
    if kind == "data":
        lines[:] = text_below(name.rpartition(".")[2], value) or lines


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", document_constant)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}
