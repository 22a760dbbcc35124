"""The shown filters are the weights, and the rest says which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import NumericsError, UsageError
from convscope.methods.filters import filters
from convscope.paint import paint
from convscope.types import Network


def network(model: nn.Module, name: str = "tiny") -> Network:
    return Network(model, (0.5,) * 3, (0.25,) * 3, (16, 16), ("a", "b"), name)


@pytest.fixture
def tiny() -> Network:
    torch.manual_seed(0)
    return network(
        nn.Sequential(
            nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Sequential(nn.Conv2d(6, 20, 3), nn.BatchNorm2d(20)), nn.Linear(2, 2)
        )
    )


def test_first_convolution_is_shown_in_colour(tiny):
    picture = filters(tiny)
    weights = tiny.model[0].weight.detach().numpy()
    assert picture.scale == "rgb"
    np.testing.assert_array_equal(picture.values, weights)
    peaks = np.abs(weights).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(picture.limits, np.stack([-peaks, peaks], axis=1))
    np.testing.assert_allclose(picture.numbers["norms"], [np.sqrt((w**2).sum()) for w in weights], rtol=1e-6)
    assert picture.captions == tuple("012345")


def test_shared_scale_is_the_largest_of_the_layer(tiny):
    largest = tiny.model[0].weight.abs().max().item()
    for channel in (None, 2):
        picture = filters(tiny, "0", channel, shared_scale=True)
        assert (picture.limits == np.float32([-largest, largest])).all()
    assert "one scale" in picture.caption
    assert picture.values.shape == (1, 3, 5, 5)


def test_deeper_rows_are_filters_and_columns_their_strongest_slices(tiny):
    picture = filters(tiny, "2.0", inputs=4)
    weights = tiny.model[2][0].weight.detach().numpy()
    assert picture.scale == "diverging"
    assert picture.columns == 4
    assert picture.values.shape == (16 * 4, 1, 3, 3)
    for tile, caption in enumerate(picture.captions):
        source, output = map(int, caption.split(" → "))
        assert output == tile // 4
        np.testing.assert_array_equal(picture.values[tile, 0], weights[output, source])
        norms = sorted((np.linalg.norm(each) for each in weights[output]), reverse=True)
        assert np.linalg.norm(weights[output, source]) == pytest.approx(norms[tile % 4])
        assert picture.limits[tile, 1] == np.abs(weights[output]).max()


def test_block_stands_for_its_first_convolution(tiny):
    tiny.model.layer_aliases = {"conv5": "2"}
    picture = filters(tiny, "conv5")
    assert picture.title == "The filters of 2.0, 3×3"
    assert picture.name == "filters-conv5"
    assert filters(tiny, "conv5", 3).name == "filters-conv5-3"  # so that no channel's file is another's
    np.testing.assert_array_equal(picture.values, filters(tiny, "2.0").values)


@pytest.mark.parametrize(("groups", "channel", "source"), [(4, 5, {4, 5}), (8, 5, {5})])
def test_slices_of_groups_name_the_channels_they_see(groups, channel, source):
    model = network(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=groups)))
    picture = filters(model, "1", channel)
    assert {int(caption.split(" → ")[0]) for caption in picture.captions} == source
    assert filters(model, "1").columns == (2 if groups == 4 else None)


def test_three_channel_convolution_deeper_down_is_not_colour():
    model = network(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 3)))
    assert filters(model, "1").scale == "diverging"
    assert "single number" not in filters(model, "1").caption


def test_dead_filter_is_reported_and_painted_flat(tiny):
    tiny.model[0].weight.data[3] *= 1e-12
    picture = filters(tiny)
    assert picture.numbers["faint_channels"] == [3]
    pixels = paint(replace(picture, values=picture.values[3:4], limits=picture.limits[3:4], captions=()), scale=1)
    assert np.ptp(pixels[4:-4, 4:-4].astype(int)) <= 1


def test_layer_that_is_no_convolution_is_refused(tiny):
    with pytest.raises(UsageError) as caught:
        filters(tiny, "2.1")
    assert str(caught.value) == (
        'layer "2.1" of tiny is a BatchNorm2d, not a convolution; closest: 2.0; list them: convscope layers RUN'
    )
    with pytest.raises(UsageError, match="is a Linear, not a convolution; the first is 0; list"):
        filters(tiny, "3")


def test_order_by_norm_is_the_largest_first(tiny):
    weights = tiny.model[0].weight.detach()
    order = weights.flatten(1).norm(dim=1).argsort(descending=True).tolist()
    assert order != sorted(order)
    picture = filters(tiny, sort="norm")
    assert picture.captions == tuple(map(str, order))
    np.testing.assert_array_equal(picture.values, weights[order])
    assert picture.numbers["norms"] == sorted(filters(tiny).numbers["norms"], reverse=True)
    np.testing.assert_array_equal(picture.limits, filters(tiny).limits[order])
    assert filters(tiny, channel=[0, 3, 1], sort="norm").numbers["channels"] == [k for k in order if k in (0, 1, 3)]
    assert filters(tiny, channel=[3, 0, 1]).numbers["channels"] == [3, 0, 1]
    deep = tiny.model[2][0].weight.detach().flatten(1).norm(dim=1).argsort(descending=True).tolist()
    assert filters(tiny, "2.0", sort="norm", channels=5).numbers["channels"] == deep[:5]
    with pytest.raises(UsageError, match='no order "size"; allowed: channel, norm'):
        filters.__wrapped__(tiny, sort="size")


def test_all_channels_of_a_deeper_convolution(tiny):
    assert filters(tiny, "2.0", "all").numbers["channels"] == [*range(20)]


def test_filters_of_grey_images_are_grey_images():
    model = network(nn.Sequential(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.Conv2d(20, 4, 3)))
    picture = filters(model)
    assert picture.scale == "rgb"
    assert picture.values.shape == (20, 3, 5, 5)
    np.testing.assert_array_equal(picture.values, model.model[0].weight.detach().expand(20, 3, 5, 5))
    assert "red" not in picture.caption


@pytest.mark.parametrize("inputs", [2, 4, 5])
def test_filters_of_images_with_other_channels_are_slices(inputs):
    picture = filters(network(nn.Sequential(nn.Conv2d(inputs, 3, 5))))
    assert picture.scale == "diverging"
    assert picture.values.shape == (3 * inputs, 1, 5, 5)
    assert picture.columns == inputs


def test_grouped_first_convolution_is_slices():
    assert filters(network(nn.Sequential(nn.Conv2d(3, 6, 5, groups=3)))).scale == "diverging"


@pytest.mark.parametrize("knob", ["channels", "inputs"])
def test_knobs_below_one_are_refused(tiny, knob):
    with pytest.raises(UsageError, match=f"{knob} 0; allowed: 1 or more"):
        filters(tiny, "2.0", **{knob: 0})


def test_network_without_convolution_is_refused():
    with pytest.raises(UsageError, match="plain has no two-dimensional convolution"):
        filters(network(nn.Linear(2, 2), "plain"))


def test_damaged_weights_are_refused_when_painted(tiny):
    tiny.model[0].weight.data[2, 0, 0, 0] = float("nan")
    with pytest.raises(NumericsError, match="not finite"):
        paint(filters(tiny))
