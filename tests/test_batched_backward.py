"""Many signals through one recorded forward pass give what each gives alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.batched_backward import BatchedBackward, gradients

LAYERS = {
    "plain": nn.Conv2d(6, 4, 3),
    "strided with rows left over": nn.Conv2d(6, 4, (3, 2), stride=(2, 3), padding=(1, 0)),
    "dilated": nn.Conv2d(6, 4, 3, dilation=2, padding=2, bias=False),
    "grouped": nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": nn.Conv2d(6, 6, 3, groups=6, padding=1),
    "one by one": nn.Conv2d(6, 4, 1, stride=2),
    "padded the same": nn.Conv2d(6, 4, 3, padding="same"),
    "reflected": nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
    "batch norm": nn.BatchNorm2d(6),
    "batch norm without weights": nn.BatchNorm2d(6, affine=False),
    "batch norm without statistics": nn.BatchNorm2d(6, track_running_stats=False),
    "overlapping max pool": nn.MaxPool2d(3, 2, 1),
    "average pool": nn.AvgPool2d(3, 2),
}


def prepared(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None:
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
    return layer.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_same_forwards_and_back(name, images):
    layer = prepared(LAYERS[name])
    x = torch.randn(images, 6, 11, 12, generator=torch.Generator().manual_seed(1), requires_grad=True)
    expected = layer(x)
    with BatchedBackward():
        got = layer(x)
    torch.testing.assert_close(got, expected)
    signals = torch.randn(5, *expected.shape, generator=torch.Generator().manual_seed(2))
    one_by_one = torch.stack([torch.autograd.grad(expected, x, each, retain_graph=True)[0] for each in signals])
    torch.testing.assert_close(gradients(got, x, signals), one_by_one, rtol=1e-4, atol=1e-5)


def test_arguments_by_keyword_are_understood():
    x, weight = torch.randn(1, 2, 6, 6, requires_grad=True), torch.randn(3, 2, 3, 3)
    with BatchedBackward():
        got = F.conv2d(input=x, weight=weight, stride=2, padding=(1, 1))
    torch.testing.assert_close(got, F.conv2d(x, weight, stride=2, padding=1))


def test_convolutions_go_back_as_one_batch(monkeypatch):
    """Planted: how often a convolution is taken back is counted."""
    from convscope import batched_backward

    calls: list[int] = []
    plain = batched_backward.conv2d_input

    def counted(shape: tuple[int, ...], *rest: Tensor) -> Tensor:
        calls.append(shape[0])
        return plain(shape, *rest)

    monkeypatch.setattr(batched_backward, "conv2d_input", counted)
    x = torch.randn(1, 6, 8, 8, requires_grad=True)
    with BatchedBackward():
        y = prepared(LAYERS["plain"])(x)
    gradients(y, x, torch.randn(7, *y.shape))
    assert calls == [7]


STRIPS = [(0, 1), (0, 2), (3, 5), (-1, None), (-3, None), (2, -2)]


@pytest.mark.parametrize("name", [name for name in LAYERS if "batch norm" not in name])
@pytest.mark.parametrize("rows", STRIPS)
@pytest.mark.parametrize("columns", STRIPS[:4])
def test_a_signal_that_is_somewhere_only_goes_back_from_there(name, rows, columns):
    layer = prepared(LAYERS[name])
    x = torch.randn(1, 6, 11, 12, generator=torch.Generator().manual_seed(1), requires_grad=True)
    expected = layer(x)
    with BatchedBackward():
        got = layer(x)
    signals = torch.zeros(2, *expected.shape)
    there = signals[..., slice(*rows), slice(*columns)]
    there.copy_(torch.randn(there.shape, generator=torch.Generator().manual_seed(2)))
    one_by_one = torch.stack([torch.autograd.grad(expected, x, each, retain_graph=True)[0] for each in signals])
    torch.testing.assert_close(gradients(got, x, signals), one_by_one, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients(got, x, signals[1:]), one_by_one[1:], rtol=1e-4, atol=1e-5)
    assert not gradients(got, x, torch.zeros(1, *expected.shape)).any()


def test_what_one_unit_sees_is_all_that_is_computed(monkeypatch):
    """Planted: how much a convolution takes back is counted."""
    from convscope import batched_backward

    sizes: list[tuple[int, ...]] = []
    plain = batched_backward.conv2d_input

    def counted(shape: tuple[int, ...], *rest: Tensor) -> Tensor:
        sizes.append(tuple(shape[2:]))
        return plain(shape, *rest)

    monkeypatch.setattr(batched_backward, "conv2d_input", counted)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, stride=2))
    x = torch.randn(1, 3, 20, 20, requires_grad=True)
    with BatchedBackward():
        y = prepared(model)(x)
    signal = torch.zeros(1, *y.shape)
    signal[..., 5, 0] = 1
    gradients(y, x, signal)
    assert sizes == [(3, 3), (5, 4)]
