"""Receptive fields equal those of the recursion over kernels and strides, and those of a perturbed input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.hooks import frozen_eval, record_outputs
from convscope.methods.receptive_field import receptive_field
from convscope.models import build_model
from convscope.types import Network


def network(model: nn.Module, size: tuple[int, int], channels: int = 3) -> Network:
    return Network(model, (0.5,) * channels, (0.25,) * channels, size, ("a", "b"), "tiny")


def recursion(steps: list[tuple[int, int, int, int]], positions: int, side: int) -> list[list[int]]:
    """[start, stop) for each position after (kernel, stride, padding, dilation) steps, clipped to the image."""
    found = []
    for position in range(positions):
        low = high = position
        for kernel, stride, padding, dilation in reversed(steps):
            low = low * stride - padding
            high = high * stride - padding + (kernel - 1) * dilation
        found.append([max(low, 0), min(high, side - 1) + 1])
    return found


def test_plain_network_equals_the_recursion():
    steps = [(5, 2, 2, 1), (3, 1, 2, 2), (2, 2, 0, 1), (3, 1, 0, 1)]
    model = nn.Sequential(
        nn.Conv2d(3, 4, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, 1, 2, 2, groups=2),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 2, 3),
    )
    field = receptive_field(network(model, (40, 56)), "4")
    assert field.rows.tolist() == recursion(steps, 8, 40)
    assert field.columns.tolist() == recursion(steps, 12, 56)


@pytest.mark.parametrize(("layer", "side"), [("conv2", 11), ("conv3", 25), ("conv4", 53), ("conv5", 109)])
def test_resnet18_for_small_images_equals_the_recursion(layer, side):
    """A stage of two blocks sees what its four 3×3 convolutions see, of which the first may stride."""
    stages = int(layer[-1]) - 1
    steps = [(3, 1, 1, 1)]
    for stage in range(stages):
        steps += [(3, 1 if stage == 0 else 2, 1, 1), *[(3, 1, 1, 1)] * 3]
    model = build_model("resnet18", class_count=10, seed=0)
    height = 128
    rows = receptive_field(network(model, (height, 8)), layer).rows
    assert rows.tolist() == recursion(steps, height // 2 ** (stages - 1), height)
    assert int((rows[:, 1] - rows[:, 0]).max()) == side


class Odd(nn.Module):
    """Branches of unlike reach, joined, a strided and grouped convolution, functional calls and channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(3, 2, 1)
        self.far = nn.Conv2d(3, 2, (3, 7), padding=(1, 3))
        self.norm = nn.LayerNorm(4)
        self.grouped = nn.Conv2d(4, 4, 3, 2, 1, groups=2)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.near(x), self.far(x)], dim=1)
        joined = self.norm(F.gelu(joined).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        first = F.max_pool2d(self.grouped(joined), 3, 1, 1)
        return first + F.hardswish(self.depthwise(first))


def test_odd_network_equals_what_perturbing_each_pixel_changes():
    torch.manual_seed(0)
    model = Odd()
    size = (11, 14)
    field = receptive_field(network(model, size), "depthwise")
    images = torch.rand(1, 3, *size, dtype=torch.float64)
    with torch.no_grad(), frozen_eval(model):
        slow = Odd().double()
        slow.load_state_dict(model.state_dict())
        for axis, stretches in ((2, field.rows), (3, field.columns)):
            seen = torch.zeros(size[axis - 2], len(stretches), dtype=torch.bool)
            for line in range(size[axis - 2]):
                for _ in range(6):  # a change may be hidden by a maximum once, hardly each time
                    before = torch.rand_like(images) * 20 - 10
                    after = before.clone()
                    after.select(axis, line).normal_(0, 50)
                    outputs = [record_outputs(slow, x, ["depthwise"])["depthwise"] for x in (before, after)]
                    changed = (outputs[0] != outputs[1]).any(1)[0]  # (h, w)
                    seen[line] |= changed.any(3 - axis)
            for position, (start, stop) in enumerate(stretches.tolist()):
                lines = seen[:, position].nonzero()[:, 0]
                assert (int(lines.min()), int(lines.max()) + 1) == (start, stop)


def test_joined_branches_are_seen_as_far_as_the_farthest_sees():
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near, self.far = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 5, padding=2)
            self.joint, self.apart = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2)
            self.first = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            maps = torch.cat([self.near(x), self.far(x)], dim=1)
            return self.joint(maps) + self.first(self.apart(maps)[:, :2]).mean()

    net = network(Joined(), (9, 9))
    assert receptive_field(net, "joint").rows[4].tolist() == [2, 7]
    assert receptive_field(net, "apart").rows[4].tolist() == [2, 7]
    assert receptive_field(net, "first").rows[4].tolist() == [4, 5]  # the first group sees the near branch alone


def test_layers_that_look_at_whole_maps_see_the_whole_image():
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.mean((2, 3), keepdim=True).sigmoid()

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Gate(), nn.Flatten(), nn.Linear(4 * 36, 2))
    net = network(model, (8, 8))
    assert receptive_field(net, "0").rows.tolist() == [[row, row + 3] for row in range(6)]
    assert receptive_field(net, "1").rows.tolist() == [[0, 8]] * 6
    assert receptive_field(net, "3").columns.tolist() == [[0, 8]]
    normed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    assert receptive_field(network(normed, (8, 8)), "1").rows.tolist() == [[0, 8]] * 6


def test_position_that_sees_only_padding():
    net = network(nn.Sequential(nn.Conv2d(1, 1, 1, padding=1)), (3, 3), channels=1)
    assert receptive_field(net, "0").rows.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [0, 0]]


def test_model_is_left_as_found_and_another_size_may_be_asked_for():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert len(receptive_field(network(model, (8, 8)), "1", (10, 12)).columns) == 10
    assert type(model[0]) is nn.Conv2d
    assert model.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    with pytest.raises(UsageError, match='no layer "5" in tiny'):
        receptive_field(network(model, (8, 8)), "5")
