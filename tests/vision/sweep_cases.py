"""A small sweep of heads on generated pictures, and how to run one."""

import yaml


def feature_config(squares_coco, tmp_path) -> dict:
    return {
        "methods": {
            "bce": {"loss": {"name": "bce", "parameters": {"unknown": "ignore"}}},
            "pnu": {"loss": {"name": "pnu", "mixup_weight": 1.0}},
        },
        "proportions": [0.5, 1.0],
        "seeds": [0],
        "features": {
            "data": {"name": "coco", "root": str(squares_coco), "image_size": 32},
            "model": {"backbone": "test_resnet"},
            "cache": str(tmp_path / "features"),
            "probe": {"learning_rates": [1e-3, 1e-2], "epochs": [1, 3], "batch_size": 16},
        },
    }


def run_tool(tool, tmp_path, config, *arguments):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    out = ["--out", str(tmp_path / "out")]
    tool.main(["--config", str(tmp_path / "sweep.yaml"), *out, *arguments])
