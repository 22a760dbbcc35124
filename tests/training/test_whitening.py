"""Whitening: steps of SGD in coordinates in which patches are uncorrelated, told in the weights' own."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import UsageError
from convscope.training.loop import train
from convscope.training.optimizers import DenseOptimizer
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.whitening import DAMPING, PatchWhitening, image_convolution, patch_moments
from convscope.types import Phase

from .conftest import ADAM, SGD, planted_dataset, tiny_net, tiny_recipe
from .test_loop import equal, run_through

WHITENED = dataclasses.replace(SGD, whitened=True, nesterov=True, weight_decay=1e-2)


def test_moments_are_the_mean_products_over_all_patches(dataset):
    layer = nn.Conv2d(3, 4, (3, 2), dilation=2)
    patches = []
    for image in dataset.train.images.images.numpy():
        normal = (image / 255 - 0.45) / 0.3  # (3, 8, 8)
        patches += [normal[:, y : y + 5 : 2, x : x + 3 : 2].reshape(-1) for y in range(8 - 4) for x in range(8 - 2)]
    expected = np.mean([np.outer(patch, patch) for patch in patches], axis=0)
    np.testing.assert_allclose(patch_moments(layer, dataset), expected, rtol=1e-5)


def test_many_images_tell_by_a_sample_and_large_ones_by_places(monkeypatch):
    """Of 50 images the 0th, 5th, 10th, …; of 8 pixels every fourth: as if there were no others."""
    whole = planted_dataset()
    some = planted_dataset()
    some.train.images.images = whole.train.images.images[::5, :, ::4, ::4]
    some.train.images.shape = tuple(some.train.images.images.shape)
    monkeypatch.setattr("convscope.training.whitening.PLACES", 2)
    monkeypatch.setattr("convscope.training.whitening.IMAGES", 10)
    found = patch_moments(nn.Conv2d(3, 4, 1), whole)
    np.testing.assert_allclose(found, patch_moments(nn.Conv2d(3, 4, 1), some), rtol=1e-6)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_its_steps_are_those_of_weights_in_whitened_coordinates(dataset, layout):
    """w = P v, with P the root of the inverse of moments and damping: torch's own SGD moves v, and w follows."""
    model = tiny_net().to(memory_format=layout)
    moments = patch_moments(model.conv1, dataset)
    values, vectors = torch.linalg.eigh(moments + DAMPING * torch.eye(27, dtype=torch.float64))
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T  # P
    whitened = nn.Parameter(model.conv1.weight.detach().double().flatten(1) @ torch.linalg.inv(root))  # v
    textbook = torch.optim.SGD([whitened], lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2)
    optimizer = DenseOptimizer(model, WHITENED, whitening=PatchWhitening(model.conv1, dataset))
    for step in range(5):
        gradient = torch.randn(4, 27, generator=torch.Generator().manual_seed(step))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        model.conv1.weight.grad = gradient.view(4, 3, 3, 3).to(memory_format=layout)
        optimizer.step(learning_rate=0.1)
        whitened.grad = gradient.double() @ root
        textbook.step()
    expected = (whitened.detach() @ root).view(4, 3, 3, 3)
    torch.testing.assert_close(model.conv1.weight.detach().double(), expected, rtol=1e-4, atol=1e-6)


def test_a_first_layer_that_is_frozen_stays(dataset):
    model = tiny_net()
    before = model.conv1.weight.detach().clone()
    for _ in train(model, dataset, tiny_recipe(WHITENED, freeze=True), device="cpu"):
        pass
    assert torch.equal(model.conv1.weight, before)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_stopped_and_resumed_ends_with_the_same_bits(dataset, stop):
    recipe = tiny_recipe(ADAM, WHITENED)
    _, whole, _ = run_through(recipe, dataset)
    _, _, checkpoints = run_through(recipe, dataset, stop_after=stop)
    _, resumed, _ = run_through(recipe, dataset, checkpoint=checkpoints[-1])
    assert equal(whole, resumed)


def test_it_changes_what_is_learned(dataset):
    _, whitened, _ = run_through(tiny_recipe(WHITENED), dataset)
    _, plain, _ = run_through(tiny_recipe(dataclasses.replace(WHITENED, whitened=False)), dataset)
    assert not equal(whitened, plain)


OTHER_BEGINNINGS = [
    nn.Linear(8, 3),
    nn.Conv2d(1, 4, 3),
    nn.Conv2d(3, 6, 3, groups=3),
    nn.Conv2d(3, 6, 9, padding=4),  # the images are 8 pixels wide
    nn.Conv2d(3, 6, (1, 3), dilation=4, padding=4),
]


@pytest.mark.parametrize("layer", OTHER_BEGINNINGS, ids=str)
def test_another_beginning_has_nothing_to_whiten(layer, dataset):
    assert image_convolution(nn.Sequential(layer), dataset) is None


def test_a_kernel_may_be_as_large_as_the_image():
    low = planted_dataset()
    low.train.images.images = low.train.images.images[:, :, :4]
    low.train.images.shape = tuple(low.train.images.images.shape)
    for kernel, fits in (((4, 8), True), ((5, 8), False), ((4, 9), False), ((8, 4), False)):
        layer = nn.Conv2d(3, 2, kernel)
        assert image_convolution(nn.Sequential(layer), low) is (layer if fits else None)


def test_a_network_that_begins_otherwise_is_trained_like_any_other(dataset, monkeypatch):
    _, plain, _ = run_through(tiny_recipe(dataclasses.replace(WHITENED, whitened=False)), dataset)
    monkeypatch.setattr("convscope.training.loop.image_convolution", lambda *_: None)
    _, found, _ = run_through(tiny_recipe(WHITENED), dataset)
    assert equal(found, plain)


def test_adam_has_no_use_for_it():
    with pytest.raises(UsageError, match=r"phases\.0\.whitened needs sgd"):
        override_recipe(get_recipe("adam"), settings=["phases.0.whitened=true"])
    assert get_recipe("fast").phases == (dataclasses.replace(get_recipe("fast").phases[0], whitened=True),)
    assert Phase("sgd", 0.1, steps=1).whitened is False
