"""Settings: YAML and command line, refusals that name the nearest valid key."""

from pathlib import Path

import pytest
import yaml

from pumlc.engine.command_line import parse, task_of
from pumlc.engine.config import TrainConfig, from_plain, plain
from pumlc.engine.settings import field_names
from pumlc.errors import UserError, closest
from pumlc.vision.config import VisionConfig
from pumlc.vision.sweep.config import SweepConfig

CONFIGS = sorted((Path(__file__).parent.parent.parent / "configs").glob("*.yaml"))
DEMO = str(Path(__file__).parent.parent.parent / "configs" / "demo_pumlc.yaml")
SWEEPS = sorted((Path(DEMO).parent / "sweeps").glob("*.yaml"))
FEATURES, FINE_TUNE = (
    Path(DEMO).parent / "sweeps" / f"voc_{n}.yaml" for n in ("features", "finetune")
)


def parse_vision(*arguments):
    out = ("--out", {"type": str, "default": None})
    return parse(VisionConfig, list(arguments), program="train", extra=[out])


def is_vision(file):
    return yaml.safe_load(file.read_text()).get("task", "vision") == "vision"


@pytest.mark.parametrize("file", [f for f in CONFIGS if is_vision(f)], ids=lambda f: f.stem)
def test_every_shipped_config_parses_and_round_trips(file):
    # the recipes of frozen features have no file of their own: they serve every data set
    place = ["--data.csv", "labels.csv"] if file.stem.startswith("frozen") else []
    config, _ = parse_vision("--config", str(file), *place)
    assert from_plain(VisionConfig, plain(config)) == config


def test_the_configs_of_csv_files_differ_in_the_loss_alone():
    tags, both = (
        yaml.safe_load(next(f for f in CONFIGS if f.stem == f"csv{name}_lite0_cpu").read_text())
        for name in ("", "_pnu")
    )
    assert tags.pop("loss")["name"] == "pu"
    parameters = {"supervised": 100.0, "rejection": None}
    loss = {"name": "pnu", "parameters": parameters, "mixup_weight": 1.0}
    assert both.pop("loss") == loss
    assert both == tags


def test_command_line_overrides_file():
    config, extra = parse_vision(
        *("--config", DEMO, "--data.known", "0.3", "--loss.parameters.gamma", "0.7"),
        *("--train.learning_rate", "1e-4", "--out", "x"),
    )
    assert config.data.known == 0.3
    assert config.loss.parameters == {"gamma": 0.7, "alpha": 2.0}
    assert config.train.learning_rate == 1e-4
    assert extra["out"] == "x"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data.knwon", "0.1"], "data.known"),
        (["--train.epoch", "3"], "train.epochs"),
        (["--lss.name", "pu"], "loss.name"),
        (["--known", "0.1"], "did you mean 'data.known'"),
        (["--data.known", "1.5"], r"data.known must be in \(0, 1\], got 1.5"),
        (["--data.known", "much"], "data.known"),
        (["--train.schedule", "step"], "one-cycle"),
        (["--loss.name", "puu"], "did you mean 'pu'"),
        (["--loss.parameters.gama", "1"], "did you mean 'gamma'"),
        (["--data.csv", "labels.csv"], "data.csv"),
        (["--train.schedule_epochs", "3"], "at least train.epochs"),
        (["--train.weight_decay", "-1"], "train.weight_decay must be at least 0"),
        (["--train.seed", "-1"], r"train.seed must be in \[0, 2\*\*32\), got -1"),
        (["--data.label_seed", "-1"], "data.label_seed must be in"),
        (["--data.image_size", "0"], r"image_size must be a side or \[height, width\], .*got 0"),
        (["--loss.name", "role"], "role needs the tensor estimate_logits, which no config can"),
        (["--loss.name", "softmax"], "softmax is a loss for texts"),
        (["--train.epochs", "two"], "^--train.epochs: expected int. Got value: two$"),
        (["--train.batch-size", "two"], "^--train.batch-size: expected int. Got value: two$"),
        (["--train.batch-size", "0"], "train.batch_size must be at least 1, got 0"),
        (["--data.class_path", "evil.C"], "^--data.class_path: data.class_path is no setting"),
    ],
)
def test_mistakes_on_the_command_line_name_what_is_valid(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        parse_vision("--config", DEMO, *arguments)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data": {"knwon": 0.1}}, "data.known"),
        ({"dat": {"known": 0.1}}, "did you mean 'data.known'"),
        ({"train": {"epochs": "many"}}, "epochs"),
        ({"loss": {"name": "pu", "parameters": {"gamma": 1.0}}}, "needs alpha"),
        ({"loss": {"name": "puu"}}, "loss.name: unknown loss 'puu'; did you mean 'pu'"),
        ({"loss": {"parameters": None}}, "loss.parameters must have a value, got null; leave it"),
        ({"train": {"weight_decay": None}}, "train.weight_decay must have a value, got null; le"),
        ({"train": {"epochs": None}}, "train.epochs must have a value, got null$"),
        ({"train": {"epochs": 0}}, "train.epochs must be at least 1, got 0"),
        ({"train": {"epochs": "two"}}, "train.epochs: expected int. Got value: two"),
        ({"data": {"csv": "x.csv"}}, "data.csv must be left out with data.name coco"),
        ({"data.known": 2.0}, r"data.known must be in \(0, 1\], got 2.0"),
    ],
)
def test_mistakes_in_the_file_name_the_file_and_what_is_valid(tmp_path, change, expected):
    content = yaml.safe_load(Path(DEMO).read_text())
    for group, values in change.items():
        content[group] = {**content.get(group, {}), **values} if "." not in group else values
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=expected) as info:
        parse_vision("--config", str(file))
    assert str(info.value).startswith(f"--config {file}: ")


def test_settings_that_a_file_lacks(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("train: {epochs: 1}\n")
    with pytest.raises(UserError, match=f"^required: --data.root, .*; --config {file} has none"):
        parse_vision("--config", str(file))


def test_a_typed_setting_is_not_blamed_on_the_file():
    for typed, message in (
        ("--train.epochs=0", "train.epochs must be at least 1, got 0"),
        ("--loss.parameters.gamma=-1", "loss.parameters.gamma must be"),
        ("--loss.parameters={gamma: -1, alpha: 1}", "loss.parameters.gamma must be"),
    ):
        with pytest.raises(UserError, match=f"^{message}"):
            parse_vision("--config", DEMO, typed)
    with pytest.raises(UserError, match=f"^--config {DEMO}: loss.parameters: "):
        parse_vision("--config", DEMO, "--loss.name=asl")


@pytest.fixture
def module_on_the_path(tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported, in the current folder."""
    (tmp_path / "own_code.py").write_text("open('imported', 'w').close()\nclass C: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "imported"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"class_path": "own_code.C"}, "data.class_path is no setting"),
        ({"class_path": "own_code.C", "init_args": {}}, "data.class_path is no setting"),
        ({"init_args": {}}, "data.init_args is no setting"),
        ("own_code.C", "data must be a mapping of settings, got 'own_code.C'"),
    ],
)
def test_settings_import_no_module(module_on_the_path, value, message):
    content = {**yaml.safe_load(Path(DEMO).read_text()), "data": value}
    with pytest.raises(UserError, match=f"^run.json: {message}"):
        from_plain(VisionConfig, content)
    Path("c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"^--config c.yaml: {message}"):
        parse_vision("--config", "c.yaml")
    assert not module_on_the_path.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.noise", "own_code.C", "data.noise must be a mapping of settings, got 'own_code.C'"),
        ("data.noise", {"class_path": "own_code.C"}, "data.noise.class_path is no setting"),
        ("data.noise.class_path", "own_code.C", "data.noise.class_path is no setting"),
        ("features.class_path", "own_code.C", "features.class_path is no setting"),
        ("features.init_args.cache", "x", "features.init_args is no setting"),
        ("features", "own_code.C", "features must be a mapping of settings, got 'own_code.C'"),
    ],
)
def test_dotted_names_import_no_module(module_on_the_path, key, value, message):
    """A parser reads "data.noise" as noise in data; on the command line it is spelled so."""
    content = {**yaml.safe_load(Path(DEMO).read_text()), key: value}
    with pytest.raises(UserError, match=f"^run.json: {message}"):
        from_plain(VisionConfig, content)
    Path("c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"^--config c.yaml: {message}"):
        parse_vision("--config", "c.yaml")
    with pytest.raises(UserError, match=f"^--{key}: {message}"):
        parse_vision("--config", DEMO, f"--{key}={value}")
    assert not module_on_the_path.exists()


def test_no_file_is_read_for_a_group_of_settings(module_on_the_path):
    Path("group.yaml").write_text("class_path: own_code.C\n")
    message = "^--features: features must be a mapping of settings, got 'group.yaml'$"
    with pytest.raises(UserError, match=message):
        parse_vision("--config", DEMO, "--features", "group.yaml")
    config, _ = parse_vision("--config", DEMO, "--features", "{cache: here}")
    assert config.features.cache == "here"
    assert not module_on_the_path.exists()


def test_a_run_of_unknown_settings_names_the_nearest():
    content = yaml.safe_load(Path(DEMO).read_text())
    content["train"]["epoch"] = 3
    with pytest.raises(UserError, match=r"^run.json: a setting this .*did you mean 'train.epochs'"):
        from_plain(VisionConfig, content)


def test_methods_of_a_sweep_import_no_module(module_on_the_path):
    content = yaml.safe_load(FEATURES.read_text())
    content["methods"]["own"] = {"loss": {"class_path": "own_code.C"}}
    with pytest.raises(UserError, match=r"^run.json: methods.own.loss.class_path is no setting"):
        from_plain(SweepConfig, content)
    assert not module_on_the_path.exists()


@pytest.mark.parametrize("file", SWEEPS, ids=lambda f: f.stem)
def test_every_shipped_sweep_parses(file):
    parse(SweepConfig, ["--config", str(file)], program="sweep")


@pytest.mark.parametrize(
    ("name", "meant", "valid"),
    [
        ("features.prob.x", "features.probe", "in features: cache, data, model, probe, workers"),
        ("features.probe.epoch", "features.probe.epochs", "in features.probe: batch_size, "),
        (
            "features.dat.root",
            "features.data.root",
            "in features: cache, data, model, probe, workers",
        ),
        (
            "methods.pnu.loss.nme",
            "methods.pnu.loss.name",
            "in methods.pnu.loss: class_weights, mixup_beta, ",
        ),
        ("methods.pnu.lss", "methods.pnu.loss", "in methods.pnu: first_epoch, "),
        ("metrik", "metric", ": conditions, families, features, fine_tune, "),
    ],
)
def test_an_unknown_setting_of_an_optional_group(tmp_path, name, meant, valid):
    """In the file and on the command line: one line, the place, the nearest name, valid ones."""
    content = yaml.safe_load(FEATURES.read_text())
    *groups, last = name.split(".")
    place = content
    for group in groups:
        place = place.setdefault(group, {})
    place[last] = "1"
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(content))
    for place, arguments in (
        (f"--config {file}", ["--config", str(file)]),
        (f"--{name}", ["--config", str(FEATURES), f"--{name}=1"]),
    ):
        with pytest.raises(ValueError, match="no setting") as info:
            parse(SweepConfig, arguments, program="sweep")
        message = str(info.value)
        assert message.startswith(f"{place}: no setting '")
        assert f"did you mean {meant!r}? valid" in message
        assert f"valid{' ' * valid.startswith('in')}{valid}" in message
        assert "\n" not in message


def test_other_spellings_of_a_setting_are_not_blamed(tmp_path):
    """An appended list and a dotted key in the file, beside a real mistake."""
    content = {**yaml.safe_load(FEATURES.read_text()), "features.cache": "x"}
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(content))
    arguments = ["--config", str(file), "--proportions+", "0.25"]
    config, _ = parse(SweepConfig, arguments, program="sweep")
    assert (config.proportions[-1], config.features.cache) == (0.25, "x")
    with pytest.raises(ValueError, match="^--sed: no setting 'sed'; did you mean 'seeds'"):
        parse(SweepConfig, [*arguments, "--sed=1"], program="sweep")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--features.probe.batch_size=1", "^probe.batch_size must be at least 2, got 1$"),
        ("--features.probe.trained=x", "^--features.probe.trained: .*Got value: x$"),
    ],
)
def test_a_wrong_value_in_an_optional_group_is_one_line(option, expected):
    with pytest.raises(ValueError, match=expected):
        parse(SweepConfig, ["--config", str(FEATURES), option], program="sweep")


LL_R = {"loss": {"name": "large_loss", "parameters": {"rate": 0.0, "mode": "reject"}}}
NNPU = {"prior": "known", "surrogate": "sigmoid", "unlabeled": "all"}


@pytest.mark.parametrize(
    ("mode", "change", "message"),
    [
        ("features", {"fine_tune": {"base": "x"}}, "features, fine_tune must be one of the two"),
        ("features", {"methods": {}}, "methods must be at least one"),
        ("features", {"methods.a/b": {"loss": {"name": "pnu"}}}, "methods must be names of files"),
        ("features", {"methods": {1: {"loss": {"name": "pnu"}}}}, "methods must be names of files"),
        ("features", {"proportions": []}, "proportions, conditions must be at least one"),
        ("features", {"proportions": [0.5, 0.5]}, "proportions must be different values"),
        ("features", {"proportions": [0.5, 0.50000001]}, "proportions must be different values"),
        ("features", {"seeds": [1, 1]}, "seeds must be different values"),
        ("features", {"workers": 0}, "workers must be at least 1"),
        (
            "features",
            {"features.probe.classes": []},
            "features.probe.classes must be at least one class",
        ),
        ("features", {"features.probe.epochs": [1, 1]}, "probe.epochs must be different values"),
        ("features", {"features.data.known": 0.1}, "features.data.known must be left at 1.0"),
        ("features", {"features.data.protocol": "dualcoop"}, "features.data.protocol must be left"),
        ("features", {"features.data.validation": 0.1}, "features.data.validation must be left"),
        ("features", {"features.data.augmentation": "flip"}, "features.data.augmentation must"),
        ("features", {"features.model.head": "ml_decoder"}, "features.model.head must be left at"),
        ("features", {"features.model.trainable": ["x"]}, "features.model.trainable must be left"),
        ("fine_tune", {"fine_tune.classes": []}, "fine_tune.classes must be at least one class"),
        ("fine_tune", {"metric": "frequent"}, "metric must be all or listed"),
        ("fine_tune", {"fine_tune.validation": 1.0}, r"fine_tune.validation must be in \[0, 1\)"),
        ("fine_tune", {"methods.l": {**LL_R, "per_epoch": {"rate": 0.1}}}, "methods.l.per_epoch"),
        (
            "fine_tune",
            {"methods.l": {**LL_R, "first_epoch": {"rate": 0.5}}},
            "methods.l.first_epoch",
        ),
        (
            "fine_tune",
            {"methods.n": {"loss": {"name": "nnpu", "parameters": NNPU}}},
            "methods.n.loss.parameters.prior must be .*got 'known'",
        ),
    ],
)
def test_a_sweep_that_would_not_do_what_it_says(tmp_path, mode, change, message):
    content = yaml.safe_load((FINE_TUNE if mode == "fine_tune" else FEATURES).read_text())
    for name, value in change.items():
        *groups, last = name.split(".")
        place = content
        for group in groups:
            place = place[group]
        place[last] = value
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=f"^--config {file}: {message}"):
        parse(SweepConfig, ["--config", str(file)], program="sweep")


def test_no_argument_at_all():
    with pytest.raises(ValueError, match="^required: --data.root, --model.backbone"):
        parse_vision()


def test_missing_config_file():
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        parse_vision("--config", "nowhere.yaml")
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        task_of(["--config", "nowhere.yaml"])


def test_the_task_is_read_from_the_file_or_the_command_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("task: text\n")
    assert task_of([f"--config={file}"]) == "text"
    assert task_of(["--config", str(file), "--task", "vision"]) == "vision"
    assert task_of([]) == "vision"
    file.write_text("- a\n- b\n")
    with pytest.raises(ValueError, match="mapping"):
        task_of(["--config", str(file)])


def test_every_setting_has_a_docstring(capsys):
    with pytest.raises(SystemExit):
        parse_vision("--help")
    words = " ".join(capsys.readouterr().out.split())
    for name in field_names(VisionConfig):
        if name.startswith("data.noise."):  # an optional group has a help of its own
            name = "data.noise.help"
        assert f"--{name} " in words
    assert "the learning" not in closest("x", ["abc"])
    for text in ("largest learning rate of the schedule", "any network name of timm"):
        assert text in words


@pytest.mark.parametrize(
    "content",
    [b"train: [", b"\xff\xfe", b"a: " + b"9" * 5000, b"a: 2001-99-99", b"a: " + b"[" * 5000],
)
def test_a_file_that_is_not_yaml_is_one_line(tmp_path, content):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"^--config [^\n]*c\.yaml: not YAML[^\n]*: [^\n]*$"):
        parse_vision("--config", str(file))


def test_ranges_are_checked():
    with pytest.raises(ValueError, match=r"train.warmup must be in \[0, 1\), got 1.0"):
        TrainConfig(epochs=1, batch_size=1, learning_rate=1.0, warmup=1.0)
    with pytest.raises(ValueError, match=r"train.ema_decay must be in \(0, 1\), got 1.0"):
        TrainConfig(epochs=1, batch_size=1, learning_rate=1.0, ema_decay=1.0)
