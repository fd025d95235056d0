"""Settings of a text run: what is refused, and what is said then."""

from pathlib import Path

import pytest
from small_texts import text_config

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
        ({"loss__name": "soft_topk"}, "missing a required argument: 'k'"),
        (
            {"loss.parameters.gamma": "1"},
            "decoupled_softmax: got an unexpected keyword argument 'gamma'",
        ),
        (
            {"loss__name": "soft_topk", "loss.parameters": "{k: abc, alpha: 2}"},
            "soft_topk: k takes int.*, got 'abc'",
        ),
        (
            {"loss__name": "soft_topk", "loss.parameters": "{k: 2.5, alpha: 2}"},
            "k takes int.*, got 2.5",
        ),
        (
            {"loss__name": "pu", "loss.parameters": "{gamma: true, alpha: 1}"},
            "gamma takes float, got True",
        ),
        (
            {"loss__name": "bce", "loss.parameters": "{unknown: maybe}"},
            "unknown takes .*ignore.*negative.*, got 'maybe'",
        ),
        ({"loss.parameters": "{process_group: 1}"}, "process_group is set by the run"),
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
            "loss.parameters: soft_topk: alpha must be positive",
        ),
        (
            {"loss__name": "soft_topk", "loss.parameters": "{k: 0, alpha: 1.0}"},
            "loss.parameters: soft_topk: k must be in",
        ),
        (
            {"loss__name": "pu", "loss.parameters": "{gamma: -1, alpha: 1}"},
            "loss.parameters: pu: gamma must be",
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
