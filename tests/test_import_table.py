"""Who may import whom (ast, no import is run): the layers of the package stay what they are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pumlc"
NUMERIC = {"numpy", "scipy", "sklearn"}
GROUND = {"errors", "files", "tables", "progress", "plain_numbers", "labels", "metrics", "audit"}
EVERYTHING = {path.stem for path in PACKAGE.iterdir()}
# part of the package -> (own parts it may import, third-party packages it may import; None: any)
ALLOWED = {
    "version": ({"_version"}, set()),
    "_version": (set(), set()),  # written by the build
    "errors": (set(), set()),
    "files": ({"errors", "progress"}, set()),
    "tables": (set(), set()),
    "progress": (set(), set()),
    "plain_numbers": (set(), set()),
    "labels": ({"errors", "files"}, NUMERIC),
    "metrics": ({"labels", "errors"}, NUMERIC),
    "audit": ({"estimators", "labels", "metrics", "errors", "files"}, NUMERIC),
    "report": (
        {"errors", "files", "labels", "metrics", "tables"},
        {"jinja2", "markupsafe", "numpy", "PIL", "yaml"},
    ),
    "estimators": ({"labels", "metrics", "errors", "files"}, NUMERIC),
    "losses": ({"labels", "errors"}, {"torch", "numpy"}),
    "engine": (
        {"version", "errors", "files", "labels", "metrics", "plain_numbers", "progress"},
        None,
    ),
    "sweep": ({"errors", "files", "metrics", "tables"}, None),
    "vision": (
        GROUND | {"version", "engine", "estimators", "losses", "recipes", "report", "sweep"},
        None,
    ),
    "text": (GROUND | {"engine", "estimators", "losses", "report"}, None),
    "recipes": ({"errors"}, set()),
    "branches": ({"errors"}, set()),
    "predictor": ({"branches", "engine", "errors"}, set()),
    "cli": (EVERYTHING, None),
    "__main__": ({"cli"}, set()),
    "__init__": (set(), set()),
}


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            if node.module == "pumlc":
                found.update(f"pumlc.{alias.name}" for alias in node.names)
            else:
                found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_imports_stay_inside_the_table(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    own, third_party = ALLOWED[part]
    for module in imported_modules(path):
        head, *rest = module.split(".")
        if head == "pumlc":
            assert rest[0] == part or rest[0] in own, f"{path.name} must not import {module}"
        elif head not in sys.stdlib_module_names | {"lazy_loader"} and third_party is not None:
            assert head in third_party, f"{path.name} must not import {module}"


def test_nothing_imports_tools():
    for path in PACKAGE.rglob("*.py"):
        assert not any(m.split(".")[0] == "tools" for m in imported_modules(path)), path


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, pumlc;"
        "heavy = {'torch', 'timm', 'transformers', 'sklearn'} & set(sys.modules);"
        "assert not heavy, heavy; assert callable(pumlc.labels.flip);"
        "assert 'timm' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unknown_names_are_refused():
    import pumlc

    with pytest.raises(AttributeError, match="attribute nothing"):
        pumlc.nothing  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
