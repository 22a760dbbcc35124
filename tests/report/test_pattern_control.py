"""Patterns are held against random weights and random images, in numbers that a naive loop gives as well."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from convscope.methods.evidence import randomized
from convscope.methods.maximize import maximize
from convscope.report.measured import measured
from convscope.report.pattern_control import beside_random, highest, with_own
from tests.planted import small


@pytest.fixture(scope="module")
def drawn():
    network, dataset = small(60)
    return network, dataset, maximize(network, "4", None, dataset, steps=3)


def test_highest_is_that_of_a_naive_loop(drawn):
    network, dataset, _ = drawn
    images = dataset.train.images.images[:40].float() / 255
    network.model.eval()
    with torch.no_grad():
        maps = network.model[:5]((images - torch.tensor(network.mean).view(3, 1, 1)) / 0.2)
    np.testing.assert_allclose(highest(network, "4", images), maps.amax((0, 2, 3)).numpy(), rtol=1e-4)


def test_the_same_channels_of_random_weights_stand_below(drawn):
    network, dataset, patterns = drawn
    both = beside_random(network, "4", patterns, dataset, steps=3)
    assert both.values.shape == (12, 3, 12, 12)
    assert both.columns == 6
    np.testing.assert_array_equal(both.values[:6], patterns.values)
    assert np.abs(both.values[6:] - both.values[:6]).mean() > 0.01
    photographs = dataset.train.images.images.float() / 255
    for key, other, first in (("pattern", network, 0), ("random_pattern", randomized(network), 6)):
        each = [
            highest(other, "4", torch.from_numpy(tile[None]))[i] for i, tile in enumerate(both.values[first:][:6])
        ]
        expected = np.array(each) / highest(other, "4", photographs)
        np.testing.assert_allclose(both.numbers[key], expected, rtol=1e-3)
    assert "with random weights it is" in measured(both)


def test_patterns_in_each_other_s_places_excite_no_channel_of_their_own(drawn):
    network, _, patterns = drawn
    own = with_own(network, "4", patterns).numbers["own_most"]
    turned = dataclasses.replace(patterns, values=np.roll(patterns.values, 1, axis=0))
    assert own >= 5
    assert with_own(network, "4", turned).numbers["own_most"] <= 6 - own
    assert f"{own} of 6 excite their own channel" in measured(with_own(network, "4", patterns))


def test_of_the_head_it_is_how_many_are_taken_for_their_class(drawn):
    network, dataset, _ = drawn
    classes = maximize(network, "8", "all", dataset, steps=3)
    said = [int(network(torch.from_numpy(tile[None])).argmax()) for tile in classes.values]
    named = sum(index == place for place, index in enumerate(said))
    assert with_own(network, "8", classes).numbers["named"] == named
