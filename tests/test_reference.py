"""The reference of the site: no public name is missing, and the contract's names are among them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
# what users and other programs rely on
CONTRACT = """
pumlc.load pumlc.labels.keep_proportion pumlc.labels.keep_single_positive pumlc.labels.flip
pumlc.losses.pu_loss pumlc.losses.pu_mixup_loss pumlc.losses.pnu_loss pumlc.losses.softmax_loss
pumlc.losses.decoupled_softmax_loss pumlc.losses.chunked_decoupled_softmax_loss
pumlc.losses.soft_topk_loss pumlc.losses.binary_cross_entropy_loss pumlc.losses.LOSSES
pumlc.metrics.average_precision pumlc.metrics.mean_average_precision
pumlc.metrics.precision_recall_f1 pumlc.metrics.precision_at_k pumlc.vision.LocalGlobalConv
pumlc.vision.add_local_global pumlc.vision.fold_local_global pumlc.vision.create_classifier
pumlc.vision.read_labels pumlc.vision.load_image pumlc.vision.training_transform
pumlc.vision.evaluation_transform pumlc.estimators.PartialLabelClassifier
pumlc.audit.rank_suspects pumlc.audit.score_finding pumlc.errors.UserError
""".split()  # noqa: SIM905 - a list of them is thrice as long
CONFIGURATION = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "complete"]
default_role = "py:obj"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
autodoc_default_options = {{"members": True}}
napoleon_use_ivar = True
exclude_patterns = ["generated", "commands.md", "recipes.md", "losses_table.md"]
"""


@pytest.fixture(scope="module")
def complete() -> ModuleType:
    pytest.importorskip("sphinx")
    file = ROOT / "docs" / "_extensions" / "complete.py"
    specification = importlib.util.spec_from_file_location("complete", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def described(complete, tmp_path_factory) -> set[str]:
    """The names that the pages of the reference describe."""
    from sphinx.application import Sphinx

    source = tmp_path_factory.mktemp("reference")
    (source / "conf.py").write_text(
        CONFIGURATION.format(extensions=str(ROOT / "docs" / "_extensions"))
    )
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = page.read_text("utf-8").replace("{include} generated/", "{code} ")
        (source / page.name).write_text(text, "utf-8")
    before = list(sys.path)
    try:
        built = Sphinx(
            *(source, source, source / "out", source / "trees"), "dummy", status=None, warning=None
        )
        built.build()
    finally:
        sys.path[:] = before
    return set(built.env.get_domain("py").data["objects"])


def test_every_public_name_is_on_a_page(complete, described):
    assert len(list(complete.public_names())) > 120
    assert complete.missing_names(described) == []


@pytest.mark.parametrize("name", CONTRACT)
def test_the_names_of_the_contract_are_on_a_page(described, name):
    assert name in described


def test_formulas_are_rendered_as_formulas():
    from pumlc import metrics
    from pumlc.losses import LOSSES

    named = ["average_precision", "ndcg_at_k", "propensity_precision_at_k", "inverse_propensities"]
    functions = [loss.function for loss in LOSSES.values()] + [getattr(metrics, n) for n in named]
    for function in functions:
        assert ".. math::" in (function.__doc__ or ""), function.__name__


def test_a_name_that_no_page_describes_is_found(complete, described):
    described = described - {"pumlc.losses.pu_loss", "pumlc.labels.POSITIVE"}
    missing = complete.missing_names(described)
    assert missing == ["pumlc.labels.POSITIVE", "pumlc.losses.pu_loss"]
