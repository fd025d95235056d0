"""The site: `make docs` builds it in strict mode.

Sphinx, because it reads the docstrings that the package has, resolves every cross-reference or
fails, and has been kept for fifteen years; MyST, so that the pages stay Markdown that is readable
in the repository too. Formulas become MathML: browsers show it without a script or a network.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from pumlc.version import __version__  # noqa: E402

project = "pumlc"
author = "the pumlc authors"
copyright = "the pumlc authors, Apache-2.0"  # noqa: A001  # the name that Sphinx reads
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "mathml",
    "facts",
    "complete",
]
default_role = "py:obj"  # `pu_loss` in a docstring is a link where there is such a name
exclude_patterns = ["_build", "reference/generated"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = "pumlc"
html_theme_options = {"navigation_with_keys": True}
linkcheck_timeout = 20
linkcheck_retries = 2
