"""The shown maps are what the layer gives, also where the network overwrites them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope.errors import NumericsError, UsageError
from convscope.methods.feature_maps import feature_maps
from convscope.methods.overlay import over_image
from convscope.paint import paint
from convscope.types import Network


def network(model: nn.Module) -> Network:
    return Network(model, (0.4, 0.5, 0.6), (0.25, 0.2, 0.3), (16, 16), ("a", "b"), "tiny")


class Shortcut(nn.Module):
    """A block whose one in-place ReLU overwrites its batch norm's output after a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out += x
        return self.relu(out)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_maps_equal_the_layer_computed_by_hand(image):
    torch.manual_seed(0)
    block = Shortcut()
    block.bn.running_mean.uniform_(-1, 1)
    block.bn.running_var.uniform_(0.5, 2)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.25, 0.2, 0.3]).view(3, 1, 1)
    conv = nn.functional.conv2d(((image - mean) / std)[None], block.conv.weight, padding=1)
    scale = (block.bn.weight / (block.bn.running_var + block.bn.eps).sqrt()).view(1, 3, 1, 1)
    expected = (conv - block.bn.running_mean.view(1, 3, 1, 1)) * scale + block.bn.bias.view(1, 3, 1, 1)
    picture = feature_maps(network(block), "bn", image)
    np.testing.assert_allclose(picture.values[:, 0], expected[0].detach().numpy(), rtol=1e-4, atol=1e-5)
    assert picture.scale == "diverging"
    assert (picture.limits[:, 0] == -picture.limits[:, 1]).all()
    np.testing.assert_allclose(picture.limits[:, 1], np.abs(picture.values).max(axis=(1, 2, 3)))


def test_torchvision_resnet18_stages_chain(image):
    """The output of each stage, fed to the next one, must give the next one's recorded output."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    net = network(model)
    maps = {
        name: torch.from_numpy(feature_maps(net, name, image).values).transpose(0, 1)
        for name in ("conv1", "layer1", "layer1.0", "layer1.0.bn2", "layer4")
    }
    with torch.no_grad():
        start = model.maxpool(model.bn1(maps["conv1"].clone()).relu())
        first = (maps["layer1.0.bn2"] + start).relu()
        torch.testing.assert_close(first, maps["layer1.0"])
        deep = model.layer4(model.layer3(model.layer2(maps["layer1"].clone())))
    torch.testing.assert_close(deep, maps["layer4"])
    assert maps["layer1.0.bn2"].min() < 0


def test_numbers_count_zeros_and_dead_channels(image):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True))
    model[0].weight.data.zero_()
    model[0].bias.data = torch.tensor([-1.0, 0.0, 2.0])
    picture = feature_maps(network(model), "1", image)
    assert picture.numbers == {"share_of_zeros": pytest.approx(2 / 3), "dead_channels": [0, 1], "maximum": [0, 0, 2]}
    assert picture.scale == "sequential"
    np.testing.assert_allclose(picture.limits, [[0, 0.002], [0, 0.002], [0, 2]], rtol=1e-6)
    shared = feature_maps(network(model), "1", image, shared_scale=True)
    assert (shared.limits == [0, 2]).all()


def test_layer_that_is_all_zero_is_painted_flat(image):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    model[0].weight.data.zero_()
    model[0].bias.data.fill_(-1)
    pixels = paint(feature_maps(network(model), "1", image))
    assert len(np.unique(pixels[4:60, 4:60].reshape(-1, 3), axis=0)) == 1


def test_maps_of_a_single_number_share_a_scale(image):
    model = network(nn.Sequential(nn.Conv2d(3, 5, 16), nn.ReLU(), nn.Flatten(), nn.Linear(5, 2)))
    picture = feature_maps(model, "1", image)
    assert picture.values.shape == (5, 1, 1, 1)
    assert len(np.unique(picture.limits[:, 1])) == 1
    assert "single number" in picture.caption
    np.testing.assert_array_equal(feature_maps(model, "2", image).values, picture.values)


def test_one_channel_and_a_batch_of_one(image):
    model = network(nn.Sequential(nn.Conv2d(3, 5, 3)))
    whole, one = feature_maps(model, "0", image), feature_maps(model, "0", image[None], 3)
    np.testing.assert_array_equal(one.values, whole.values[3:4])
    assert one.captions == ("3",)
    assert one.name == "maps-0-3"


def test_order_by_activation_is_the_highest_first(image):
    model = network(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()))
    plain, ordered = (feature_maps(model, "1", image, sort=sort) for sort in ("channel", "activation"))
    order = np.argsort(-plain.values.max(axis=(1, 2, 3)), kind="stable")
    assert order.tolist() != sorted(order)
    np.testing.assert_array_equal(ordered.values, plain.values[order])
    np.testing.assert_array_equal(ordered.limits, plain.limits[order])
    assert ordered.captions == tuple(map(str, order))
    assert ordered.numbers["maximum"] == sorted(plain.numbers["maximum"], reverse=True)
    some = feature_maps(model, "1", image, [0, 4, 2], sort="activation")
    assert some.captions == tuple(str(index) for index in order if index in (0, 2, 4))
    with pytest.raises(UsageError, match='no order "size"; allowed: channel, activation'):
        feature_maps.__wrapped__(model, "1", image, sort="size")


@pytest.mark.parametrize(("size", "channels"), [((16, 16), 3), ((9, 20), 1), ((8, 8), 5)])
def test_overlay_lays_each_value_on_its_pixels(size, channels):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2, padding=1), nn.ReLU())
    net = Network(model, (0.5,) * channels, (0.25,) * channels, size, (), "tiny")
    image = torch.rand(channels, *size, generator=torch.Generator().manual_seed(0))
    plain, over = (feature_maps(net, "1", image, overlay=each) for each in (False, True))
    assert over.scale == "rgb"
    assert over.values.shape == (4, 3, *size)
    assert over.numbers == plain.numbers
    expected = over_image(plain.values, plain.limits, "sequential", image[None])
    np.testing.assert_array_equal(over.values, expected)
    zero = plain.values[:, 0].repeat(2, axis=1).repeat(2, axis=2)[:, : size[0], : size[1]] == 0
    if size == (16, 16):
        np.testing.assert_array_equal(over.values.std(axis=1)[zero] < 1e-6, np.ones(zero.sum(), bool))
        assert zero.any()
    assert "where the grey image shows, zero" in over.caption


def test_overlay_of_single_numbers_is_refused(image):
    with pytest.raises(UsageError, match='an overlay of "0", whose maps are single numbers; allowed: a layer with'):
        feature_maps(network(nn.Sequential(nn.Conv2d(3, 5, 16))), "0", image, overlay=True)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 16, 16), r"an image of shape \(1, 16, 16\); allowed: \(3, H, W\)"),
        (torch.zeros(2, 3, 16, 16), r"an image of shape \(2, 3, 16, 16\)"),
        (torch.zeros(3, 16, 16, dtype=torch.uint8), "an image of torch.uint8; allowed: floats"),
        (torch.full((3, 16, 16), 1.5), r"values from 1.5 to 1.5; allowed: \[0, 1\]"),
        (torch.full((3, 16, 16), torch.nan), r"values from nan to nan; allowed: \[0, 1\]"),
    ],
)
def test_images_that_do_not_fit_are_refused(bad, message):
    with pytest.raises(UsageError, match=message):
        feature_maps(network(nn.Sequential(nn.Conv2d(3, 2, 3))), "0", bad)


class LayerNorm2d(nn.LayerNorm):
    """As in ConvNeXts: takes and gives (N, C, h, w), unlike the LayerNorm that it is made from."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def test_channels_of_a_layer_norm_come_first(image):
    maps = feature_maps(network(nn.Sequential(nn.Conv2d(3, 5, 3), LayerNorm2d(5))), "1", image)
    assert maps.values.shape == (5, 1, 14, 14)
    last = nn.Sequential(
        nn.Conv2d(3, 14, 3, padding=(0, 1)), nn.LayerNorm(16)
    )  # channels last: 14 heights, 16 channels
    assert feature_maps(network(last), "1", image).values.shape == (16, 1, 14, 14)


def test_layer_without_maps_is_refused(image):
    model = network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(2)))
    with pytest.raises(UsageError, match=r'layer "1" gives \(1, 2, 196\); allowed: \(N, C, H, W\) or \(N, C\)'):
        feature_maps(model, "1", image)


def test_maps_that_are_not_finite_are_refused(image):
    model = nn.Sequential(nn.Conv2d(3, 2, 3))
    model[0].bias.data[1] = torch.inf
    with pytest.raises(NumericsError, match='layer "0" gives values that are not finite in channel 1'):
        feature_maps(network(model), "0", image)
