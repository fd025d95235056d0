"""The local-global convolution: golden values, and every form against the plain composition."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_local_global import plain_local_global
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pumlc.vision import LocalGlobalConv, fold_local_global

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def golden_layer(golden, case: str) -> LocalGlobalConv:
    prefix = f"{case}/sd."
    state = {n.removeprefix(prefix): torch.tensor(v) for n, v in golden.items() if prefix in n}
    out_channels, channels = state["conv.weight"].shape[:2]
    stride = int(golden[f"{case}/stride"])
    layer = LocalGlobalConv(nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False))
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", ["lg_s1", "lg_s2"])
def test_golden_values(golden, case, layout):
    x = torch.tensor(golden[f"{case}/x"]).contiguous(memory_format=LAYOUTS[layout])
    layer = golden_layer(golden, case)
    for form in (layer.eval(), fold_local_global(layer)):
        torch.testing.assert_close(
            form(x), torch.tensor(golden[f"{case}/eval"]), rtol=1e-5, atol=1e-5
        )
    torch.testing.assert_close(
        layer.train()(x), torch.tensor(golden[f"{case}/train"]), rtol=1e-5, atol=1e-5
    )


def random_layer(conv: nn.Conv2d, **options: int) -> LocalGlobalConv:
    """A layer whose norm is no small perturbation: random weight and statistics."""
    layer = LocalGlobalConv(conv, **options)
    norm = layer.global_branch.norm
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    return layer


def value_and_gradients(function, layer: LocalGlobalConv, x: Tensor) -> dict[str, Tensor]:
    """The output, and the gradients of a random linear function of it by input and parameters."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    output = function(x)
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(x)
    (output * weight).sum().backward()
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    assert all(g is not None for g in gradients.values())
    return {"output": output.detach(), "x": x.grad, **gradients}  # type: ignore[dict-item]


def assert_forms_equal(layer: LocalGlobalConv, x: Tensor, *, tolerance: float) -> None:
    for training in (False, True):
        layer.train(training)
        expected = value_and_gradients(lambda x: plain_local_global(layer, x), layer, x)
        ours = value_and_gradients(layer, layer, x)
        if training:  # norm takes the mean away: this gradient is rounding alone
            del expected["global_branch.proj.bias"]
        for name, value in expected.items():
            scale = max(expected["output"].abs().max().item(), value.abs().max().item())
            torch.testing.assert_close(
                ours[name],
                value,
                rtol=0,
                atol=tolerance * scale,
                msg=lambda m, name=name, training=training: f"{name}, training {training}: {m}",
            )
    layer.eval()
    with torch.no_grad():
        expected = plain_local_global(layer, x)
        for form in (layer, fold_local_global(layer)):
            scale = expected.abs().max().item()
            torch.testing.assert_close(form(x), expected, rtol=0, atol=tolerance * scale)


@st.composite
def geometries(draw) -> tuple[nn.Conv2d, Tensor]:
    """A convolution of any supported kind and an input in one of both layouts."""
    groups = draw(st.sampled_from([1, 1, 2, 3, 8, 24]))
    channels = 24 if groups > 1 else draw(st.sampled_from([5, 16, 24, 26]))
    out_channels = groups * draw(st.integers(1, 3)) if groups > 1 else draw(st.integers(1, 20))
    kernel, dilation = draw(st.sampled_from([3, 5])), draw(st.sampled_from([1, 2]))
    stride = draw(st.sampled_from([1, 2, 3, (2, 1)]))
    kind = draw(st.sampled_from(["same", "same", "none", "tensorflow"]))
    convolution: Any = Conv2dSame if kind == "tensorflow" else nn.Conv2d
    conv = convolution(
        channels,
        out_channels,
        kernel,
        stride,
        padding=dilation * (kernel // 2) if kind == "same" else 0,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    size = [draw(st.integers(9, 12)) for _ in "hw"]
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    return conv, torch.randn(2, channels, *size).contiguous(memory_format=LAYOUTS[layout])


@settings(max_examples=40, deadline=None)
@given(geometries(), st.integers(1, 9), st.integers(0, 2**31))
def test_every_form_is_the_plain_composition(geometry, heads, seed):
    conv, x = geometry
    torch.manual_seed(seed)
    layer = random_layer(conv, heads=heads).double()
    assert_forms_equal(layer, x.double(), tolerance=1e-11)


@pytest.mark.parametrize("groups", [1, 8, 64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_form_is_the_plain_composition_in_float32(groups, layout):
    torch.manual_seed(0)
    layer = random_layer(nn.Conv2d(64, 64, 3, 2, 1, groups=groups, bias=False))
    # away from zero: the norm in train mode divides by the spread of proj's output
    proj = layer.global_branch.proj.weight
    proj.data += proj.sign() / 2
    x = torch.randn(2, 64, 13, 9).contiguous(memory_format=LAYOUTS[layout])
    assert_forms_equal(layer, x, tolerance=1e-5)


@pytest.mark.parametrize("groups", [1, 16])
def test_every_part_of_the_branch_matters(groups):
    """The negative control of the tests above: each parameter changes what they compare."""
    torch.manual_seed(0)
    layer = random_layer(nn.Conv2d(16, 16, 3, padding=1, groups=groups)).double().eval()
    x = torch.randn(2, 16, 6, 5).double()
    before = plain_local_global(layer, x)
    no_effect = set()
    for name, parameter in layer.named_parameters():
        changed = copy.deepcopy(layer)
        changed.get_parameter(name).data += torch.randn_like(parameter)
        if torch.allclose(fold_local_global(changed)(x), before, atol=1e-6):
            no_effect.add(name)
    assert no_effect == {"global_branch.agg_attn.bias"}  # softmax over the map is blind to it


def test_output_keeps_the_layout():
    layer = LocalGlobalConv(nn.Conv2d(16, 16, 3, padding=1)).to(memory_format=torch.channels_last)
    x = torch.randn(2, 16, 5, 7).contiguous(memory_format=torch.channels_last)
    for training in (True, False):
        output = layer.train(training)(x)
        assert output.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert layer(x).is_contiguous(memory_format=torch.channels_last)


def test_input_is_left_alone():
    layer = LocalGlobalConv(nn.Conv2d(16, 16, 3, padding=1)).eval()
    x = torch.randn(2, 16, 5, 7)
    before = x.clone()
    with torch.no_grad():
        layer(x)
        fold_local_global(layer)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize("training", [True, False])
def test_autocast(groups, training):
    torch.manual_seed(0)
    layer = random_layer(nn.Conv2d(16, 16, 3, padding=1, groups=groups)).train(training)
    x = torch.randn(4, 16, 9, 9)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
        with torch.no_grad():
            unrecorded = layer.eval()(x)
    assert output.dtype == unrecorded.dtype == torch.bfloat16
    assert (output - expected).abs().mean() < 0.02 * expected.abs().mean() + 0.02
    output.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [1, 16])
def test_compiles_without_graph_breaks(groups):
    torch.manual_seed(0)
    layer = random_layer(nn.Conv2d(16, 16, 3, 2, 1, groups=groups)).eval()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 16, 9, 9)
    torch.testing.assert_close(compiled(x), layer(x))
    compiled(x).sum().backward()
    assert layer.global_branch.proj.weight.grad is not None


def test_starts_as_the_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 32, 3, padding=1)
    layer = LocalGlobalConv(conv).eval()
    x = torch.randn(2, 32, 9, 9)
    assert (layer(x) - conv(x)).abs().max() < 1e-2
    assert not torch.equal(layer(x), conv(x))


@pytest.mark.parametrize(
    ("channels", "groups", "heads", "middle"),
    [(64, 1, 8, 16), (16, 1, 8, 8), (26, 1, 2, 8), (96, 96, 8, 8), (128, 32, 8, 8), (56, 7, 7, 8)],
)
def test_widths_of_the_branch(channels, groups, heads, middle):
    branch = LocalGlobalConv(nn.Conv2d(channels, channels, 3, groups=groups)).global_branch
    assert (branch.heads, branch.reduction.out_channels) == (heads, middle)
    assert branch.v.groups == branch.proj.groups == groups


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (StdConv2d(16, 16, 3), "StdConv2d"),
        (weight_norm(nn.Conv2d(16, 16, 3)), "ParametrizedConv2d"),
        (nn.Conv2d(16, 16, (3, 1)), "3x1"),
        (nn.Conv2d(16, 16, 4), "4x4"),
        (nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.Conv2d(16, 16, 3, padding=2), "padding"),
    ],
)
def test_refuses_what_it_cannot_stand_beside(conv, reason):
    with pytest.raises(ValueError, match=reason):
        LocalGlobalConv(conv)


def test_refuses_no_heads():
    with pytest.raises(ValueError, match="heads"):
        LocalGlobalConv(nn.Conv2d(16, 16, 3), heads=0)
