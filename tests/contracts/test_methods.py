"""What every method in the table must satisfy, on a small network and on torchvision's ResNet-18."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import UsageError
from convscope.methods import METHODS
from convscope.paint import paint
from convscope.types import Dataset, Network, Picture

NEEDS = ["network", "layer", "channel", "image", "dataset"]
FEW = {"steps": 2, "samples": 2, "octaves": 1, "channels": 3, "count": 2}  # knobs that decide how long it takes


def tiny() -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3), nn.ReLU()
    )
    model.append(nn.Flatten()).append(nn.Linear(100, 3))
    return Network(model, (0.5,) * 3, (0.25,) * 3, (16, 16), ("a", "b", "c"), "tiny")


def resnet18() -> Network:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=3)
    return Network(model, (0.5,) * 3, (0.25,) * 3, (32, 32), ("a", "b", "c"), "resnet18")


CASES = [(method, make, layer) for method in METHODS for make, layer in ((tiny, "4"), (resnet18, "layer2.0.conv1"))]
each_case = pytest.mark.parametrize(("method", "make", "layer"), CASES)
each_method = pytest.mark.parametrize("method", METHODS)
OF_CHANNELS = [method for method, entry in METHODS.items() if "channel" in inspect.signature(entry.load()).parameters]


def photographs(network: Network) -> Dataset:
    """Twelve images of smooth noise for each class, half of them to test on."""
    noise = torch.rand(36, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    pixels = (nn.functional.interpolate(noise, network.input_size, mode="bilinear") * 255).to(torch.uint8)
    labels = torch.arange(36) % len(network.class_names)
    halves = (pixels[:18], labels[:18]), (pixels[18:], labels[18:])
    return dataset_in_memory("noise", *halves, network.class_names, source="drawn here")


def call(method: str, network: Network, **changes: Any) -> Picture:
    """The method's picture, its needs filled from what there is and its knobs left at their defaults."""
    function = METHODS[method].load()
    image = torch.rand(3, *network.input_size, generator=torch.Generator().manual_seed(1))
    have = {"network": network, "image": image, "dataset": photographs(network), **changes}
    return function(**{name: have[name] for name in inspect.signature(function).parameters if name in have})


def everything(model: nn.Module) -> list[Any]:
    """All that a method must leave as it was."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = [[len(getattr(module, kind)) for kind in kinds] for module in model.modules()]
    return [
        hooks,
        [(name, module.training) for name, module in model.named_modules()],
        [(p.requires_grad, None if p.grad is None else p.grad.numpy().tobytes()) for p in model.parameters()],
        {name: value.numpy().tobytes() for name, value in model.state_dict().items()},
    ]


@each_case
def test_gives_a_finite_picture_the_same_each_time(method, make, layer):
    first, second = (call(method, make(), layer=layer) for _ in range(2))
    assert isinstance(first, Picture)
    count, channels, _, _ = first.values.shape
    assert channels == (3 if first.scale == "rgb" else 1)
    assert first.limits.shape == (count, 2)
    assert len(first.captions) in (0, count)
    assert first.values.dtype == first.limits.dtype == np.float32
    assert np.isfinite(first.values).all()
    assert first.caption.endswith(".")
    assert first.provenance["Layer"] == layer
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.limits, second.limits)
    assert paint(first).std() > 0


@each_case
@pytest.mark.parametrize("fails", [False, True])
def test_leaves_the_model_as_found(method, make, layer, fails):
    network = make()
    next(iter(network.model.children())).eval()
    next(network.model.parameters()).requires_grad_(False)
    network(torch.rand(2, 3, *network.input_size)).sum().backward()
    before = everything(network.model)
    if fails:
        wrong = {"layer": layer, "channel": 10**6} if method in OF_CHANNELS else {"layer": "none"}
        with pytest.raises(UsageError):
            call(method, network, **wrong)
    else:
        call(method, network, layer=layer, **FEW)
    assert everything(network.model) == before


@each_method
def test_wrong_layer_suggests_the_nearest(method):
    with pytest.raises(UsageError, match=r'no layer "layer3.conv2" in resnet18; closest: .*layer3\.0\.conv2'):
        call(method, resnet18(), layer="layer3.conv2")


@pytest.mark.parametrize("method", OF_CHANNELS)
@pytest.mark.parametrize("channel", [-1, 4])
def test_channel_out_of_range_names_the_range(method, channel):
    with pytest.raises(UsageError, match=f"no channel {channel} in 4; allowed: 0 to 3"):
        call(method, tiny(), layer="4", channel=channel)


@each_method
def test_signature_is_the_schema(method):
    parameters = inspect.signature(METHODS[method].load()).parameters.values()
    needs = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    knobs = [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    assert len(needs) + len(knobs) == len(parameters)
    assert needs[0] == "network"
    assert set(needs) <= set(NEEDS)
    assert len([knob for knob in knobs if knob.name not in ("progress", "store")]) <= 6
    assert all(knob.default is not knob.empty for knob in knobs)


@each_method
def test_summary_is_one_line(method):
    assert METHODS[method].summary
    assert "\n" not in METHODS[method].summary
    assert METHODS[method].load().__doc__


def test_table_can_be_read_without_torch():
    code = "import sys, convscope.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
