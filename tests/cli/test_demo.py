"""The demo on pictures: every command that it prints works, and the page is there at the end."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pumlc.cli import demo, demo_pictures, train
from pumlc.cli.main import main
from pumlc.errors import UserError


@pytest.fixture
def commands(monkeypatch):
    """The commands of the demo, which run in this process, on few pictures."""
    given = []

    def command_output(*arguments, threads=None):
        given.append([*arguments])
        main(arguments)
        return ""

    monkeypatch.setattr(demo_pictures, "command_output", command_output)
    monkeypatch.setattr(demo_pictures, "SPLITS", {"train": 80, "val": 40})
    monkeypatch.setattr(demo_pictures, "ThreadPoolExecutor", lambda threads: ThreadPoolExecutor(1))
    return given


def test_the_short_demo(tmp_path, commands, capsys):
    out = tmp_path / "demo"
    main(["demo", "--out", str(out)])
    printed = capsys.readouterr().out
    for method in demo_pictures.SHORT:
        assert f"| {method} " in printed
    assert printed.splitlines()[-1] == str(out / "audit" / "review.html")
    assert (out / "audit" / "review.html").is_file()
    losses = [
        json.loads((out / "runs" / name / "run.json").read_text())["config"] for name in "123"
    ]
    assert [one["loss"]["name"] for one in losses] == ["bce", "bce", "pu"]
    assert [one["loss"]["parameters"].get("unknown") for one in losses] == [
        *("negative", "ignore", None)
    ]
    # nothing but the loss differs
    for one in losses:
        del one["loss"]
    assert losses[0] == losses[1] == losses[2]


def test_the_longer_demo_trains_its_recipes_as_they_are(tmp_path, commands, monkeypatch):
    monkeypatch.setattr(demo_pictures, "write_coco", lambda folder: folder.mkdir())
    monkeypatch.setattr(demo_pictures, "write_review_page", lambda *arguments: None)

    def only_note(*arguments, threads):
        commands.append([*arguments])
        run = tmp_path / "demo" / "runs" / str(len(commands))
        run.mkdir(parents=True)
        (run / "run.json").write_text('{"config": {"data": {"known": 0.1}}}')
        (run / "metrics.json").write_text('{"N": 1, "weights": {"last": {"mAP": {"sklearn": 1}}}}')
        assert threads is None

    monkeypatch.setattr(demo_pictures, "command_output", only_note)
    main(["demo", "--train", "--out", str(tmp_path / "demo")])
    assert [command[:3] for command in commands] == [
        ["train", "--config", "demo_bce"],
        ["train", "--config", "demo_pumlc"],
    ]
    assert {command[3] for command in commands} == {"--data.root"}


def test_the_demo_on_texts_has_one_length():
    with pytest.raises(UserError, match="--train has no part in the demo on texts"):
        demo.main(["--texts", "--train"])


def test_training_in_another_precision_is_not_measured_in_one_go(tmp_path):
    with pytest.raises(UserError, match="train.precision is bf16; leave --evaluate out"):
        train.main(
            [
                *("--config", "demo_bce", "--train.precision", "bf16"),
                *("--data.root", str(tmp_path), "--out", str(tmp_path / "run"), "--evaluate"),
            ]
        )
