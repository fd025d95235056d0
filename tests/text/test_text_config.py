"""Settings of a text run: what is refused, and what is said then."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_texts import text_config

import pumlc.text
from pumlc.engine.command_line import parse
from pumlc.engine.config import from_plain, plain
from pumlc.text.config import TextConfig


def test_a_config_survives_run_json(tmp_path):
    config = text_config(
        tmp_path,
        tmp_path,
        tmp_path,
        loss__name="soft_topk",
        **{"loss.parameters.k": "5", "loss.parameters.alpha": "2"},
    )
    assert config.loss.parameters == {"k": 5, "alpha": 2}
    assert from_plain(TextConfig, plain(config)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss__name": "soft_topk"}, "loss.parameters: soft_topk needs k, alpha"),
        (
            {"loss.parameters.gamma": "1"},
            "loss.parameters: decoupled_softmax has no parameter 'gamma'",
        ),
        (
            {"loss__name": "soft_topk", "loss.parameters": "{k: abc, alpha: 2}"},
            "loss.parameters.k must be a whole number .* for soft_topk, got 'abc'",
        ),
        (
            {"loss__name": "soft_topk", "loss.parameters": "{k: 2.5, alpha: 2}"},
            "loss.parameters.k must be a whole number .* for soft_topk, got 2.5",
        ),
        (
            {"loss__name": "pu", "loss.parameters": "{gamma: true, alpha: 1}"},
            "loss.parameters.gamma must be a number .*, got True",
        ),
        (
            {"loss__name": "bce", "loss.parameters": "{unknown: maybe}"},
            "loss.parameters.unknown must be .*ignore.*negative.*, got 'maybe'",
        ),
        ({"loss.parameters": "{process_group: 1}"}, "process_group is set by the run"),
        ({"loss__name": "asl"}, "loss.name: 'asl' is a loss of pictures"),
        ({"loss__name": "sofmax"}, "loss.name: 'sofmax' is not known; did you mean 'softmax'?"),
        ({"loss__temperature": "0"}, "loss.temperature must be above 0"),
        ({"loss__name": "softmax", "loss__score_chunk": "5"}, "only decoupled_softmax"),
        ({"negatives__per_document": "101"}, "per_document must be at most negatives.shortlist"),
        ({"negatives__refresh": "0"}, "negatives.refresh must be at least 1"),
        ({"data__validation": "1"}, "data.validation must be in"),
        ({"data__train_rows": "0"}, "data.train_rows must be at least 1"),
        ({"data__layout": "parquet"}, "layout"),
        ({"encoder__label_chunk": "0"}, "encoder.label_chunk must be at least 1"),
        ({"encoder__projection": "0"}, "encoder.projection must be at least 1"),
        ({"encoder__dropout": "1"}, r"encoder.dropout must be in \[0, 1\), or null"),
        ({"encoder__pooling": "max"}, "encoder.pooling.*Got value: max$"),
        (
            {"loss__name": "soft_topk", "loss.parameters": "{k: 2, alpha: -1.0}"},
            "loss.parameters.alpha must be a number above 0 for soft_topk, got -1.0",
        ),
        (
            {"loss__name": "soft_topk", "loss.parameters": "{k: 0, alpha: 1.0}"},
            "loss.parameters.k must be a whole number of at least 1 for soft_topk, got 0",
        ),
        (
            {"loss__name": "pu", "loss.parameters": "{gamma: -1, alpha: 1}"},
            "loss.parameters.gamma must be .* for pu, got -1",
        ),
        ({"train__workers": "2"}, "train.workers must be 0 for texts"),
    ],
)
def test_refused_settings(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        text_config(tmp_path, tmp_path, tmp_path, **changes)


@pytest.mark.parametrize(
    "name",
    [
        "eurlex57k_decoupled",
        "tibcore79k_decoupled",
        "eurlex57k_cpu",
        "tibcore79k_cpu",
        "eurlex4k_decoupled",
        "lf_amazontitles131k_decoupled",
        "lf_wikipedia500k_decoupled",
        "lf_amazontitles1.3m_decoupled",
        "demo_text",
    ],
)
def test_shipped_configs_are_valid(name):
    path = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    config, _ = parse(TextConfig, ["--config", str(path), "--data.root", "x"], program="test")
    assert config.data.root == "x"
    assert config.task == "text"


def test_settings_need_neither_torch_nor_transformers():
    code = (
        "import sys, pumlc.text.config, pumlc.text;"
        "heavy = {'torch', 'transformers', 'scipy', 'accelerate'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_names_of_the_package():
    for name in dir(pumlc.text):
        assert getattr(pumlc.text, name).__module__.startswith("pumlc.text."), name
    with pytest.raises(AttributeError, match="attribute nothing"):
        pumlc.text.nothing  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
