"""Recipes suited to networks: what one cannot have is left out and told, and the rest stays."""

import dataclasses

import pytest
import torch
from torch import nn

from convscope.training.engine import Engine
from convscope.training.loop import train
from convscope.training.suited import suit_model, what_is_left_out
from convscope.training.tune import choose_engine
from convscope.types import Phase

from .conftest import SGD, tiny_net, tiny_recipe

SMALLER = Phase("sgd", 0.1, steps=6, schedule="one-cycle", warmup=0.5, resolution=0.75, whitened=True)


class Flattened(nn.Module):
    """A network as tutorials have it: `view` takes maps row after row, and the linear layer those of 8×8 images."""

    def __init__(self, flatten="view"):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4 * 6 * 6, 3)
        self.flatten = flatten

    def forward(self, x):
        maps = self.conv1(x).relu()
        return self.fc(getattr(maps, self.flatten)(-1, 4 * 6 * 6))


def test_a_network_that_takes_everything_leaves_a_recipe_as_it_is(dataset):
    recipe = tiny_recipe(SMALLER, SGD)
    assert suit_model(recipe, tiny_net(), dataset) == recipe
    assert list(what_is_left_out(recipe, recipe)) == []


@pytest.mark.parametrize("memory_format", ["auto", "channels-last", "contiguous"])
def test_maps_that_are_viewed_lie_row_after_row(memory_format, dataset):
    recipe, model = tiny_recipe(SGD, memory_format=memory_format, precision="fp32"), Flattened()
    suited = suit_model(recipe, model, dataset)
    assert suited == dataclasses.replace(recipe, memory_format="contiguous")
    assert model.training
    found = choose_engine(model, dataset, suited, device=torch.device("cpu"), tune="auto")
    assert found.engine == Engine(memory_format="contiguous")
    assert list(train(model, dataset, recipe, device="cpu"))[-1].data["reason"] == "finished"


class Choosy(Flattened):
    """One that looks at the size of its images itself."""

    def forward(self, x):
        if x.shape[2:] != (8, 8):
            raise ValueError("8×8 images only")
        return super().forward(x)


@pytest.mark.parametrize("network", [Flattened, Choosy])
def test_a_network_for_one_size_sees_no_smaller_images(network, dataset):
    recipe, model = tiny_recipe(SMALLER, SGD), network("reshape")
    suited = suit_model(recipe, model, dataset)
    assert suited == dataclasses.replace(recipe, phases=(dataclasses.replace(SMALLER, resolution=1.0), SGD))
    [told] = what_is_left_out(recipe, suited)
    assert told == "tiny takes images of one size alone: none are made smaller, as the recipe tiny would"
    events = list(train(model, dataset, recipe, device="cpu"))
    assert [event.data["resolution"] for event in events if event.kind == "phase"] == [1, 1]
    assert events[-1].data["reason"] == "finished"


def test_another_beginning_is_not_whitened(dataset):
    model = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    recipe = tiny_recipe(SMALLER)
    suited = suit_model(recipe, model, dataset)
    assert suited == dataclasses.replace(recipe, phases=(dataclasses.replace(SMALLER, whitened=False),))
    [told] = what_is_left_out(recipe, suited)
    assert "trained without the whitening" in told


def test_a_network_that_fails_anyway_fails_where_it_is_trained(dataset):
    recipe, model = tiny_recipe(SMALLER), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 3))
    assert suit_model(recipe, model, dataset) is recipe
    with pytest.raises(RuntimeError, match="shapes"):
        list(train(model, dataset, recipe, device="cpu"))


def test_a_network_that_cannot_be_copied_is_trained_by_the_recipe_as_it_is(dataset):
    model = tiny_net()
    model.twice = 2 * model.fc.weight  # computed of a weight, as old weight norms keep it
    recipe = tiny_recipe(SMALLER)
    assert suit_model(recipe, model, dataset) is recipe
    assert list(train(model, dataset, recipe, device="cpu"))[-1].data["reason"] == "finished"
