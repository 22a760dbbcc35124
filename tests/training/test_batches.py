"""Batches: what the model is fed, in the resolution that the schedule asks for."""

import dataclasses

import pytest
import torch

from convscope.errors import UsageError
from convscope.training.batches import Batches, shrink
from convscope.training.loop import train
from convscope.training.recipes import override_recipe
from convscope.types import Phase

from .conftest import planted_dataset, tiny_net, tiny_recipe

CPU = torch.device("cpu")
TWO_SIZES = Phase("sgd", 0.05, steps=7, schedule="one-cycle", warmup=0.5, resolution=0.75)


def test_images_are_small_while_the_rate_rises_and_are_the_same_images():
    data = planted_dataset()
    recipe = tiny_recipe(TWO_SIZES)
    plain = Batches(
        data, dataclasses.replace(recipe, phases=(dataclasses.replace(TWO_SIZES, resolution=1.0),)), device=CPU
    )
    height, width = data.image_size
    for step, (small, whole) in enumerate(
        zip(Batches(data, recipe, device=CPU).stream(0, 7), plain.stream(0, 7), strict=True)
    ):
        assert torch.equal(small[1], whole[1])
        if step < 3:  # (step + 1) / 8 is below the warm-up
            assert small[0].shape[2:] == (height * 3 // 4, width * 3 // 4)
            torch.testing.assert_close(small[0].mean((2, 3)), whole[0].mean((2, 3)), rtol=0.1, atol=0.1)
        else:
            assert torch.equal(small[0], whole[0])


def test_shrinking_by_half_weighs_neighbours_as_a_triangle_does():
    """Antialiased bilinear: at half the side each new pixel weighs its four nearest columns 1, 3, 3, 1 of 8."""
    ramp = torch.zeros(1, 3, 8, 8)
    ramp[..., 3] = 8.0
    assert shrink(ramp, 0.5)[0, 0, 2].tolist() == pytest.approx([0.0, 3.0, 1.0, 0.0], abs=1e-6)


def test_an_image_in_one_colour_stays_so():
    assert torch.allclose(shrink(torch.full((2, 3, 9, 7), 0.3), 0.6), torch.tensor(0.3))


def test_a_resumption_among_small_ones_goes_on_with_the_same_bits():
    data, recipe = planted_dataset(), tiny_recipe(TWO_SIZES)
    batches = Batches(data, recipe, device=CPU)
    whole = list(batches.stream(0, 7))
    for (images, _), (again, _) in zip(whole[2:], batches.stream(2, 7), strict=True):
        assert torch.equal(images, again)


def test_a_network_learns_through_both():
    model = tiny_net()
    events = list(train(model, planted_dataset(), tiny_recipe(TWO_SIZES), device="cpu"))
    assert events[-1].data["reason"] == "finished"
    assert events[-1].step == 7


@pytest.mark.parametrize("wrong", ["phases.0.resolution=0", "phases.0.resolution=1.5", "phases.0.norm_rate=-1"])
def test_what_cannot_be_is_said(wrong):
    with pytest.raises(UsageError, match=wrong.partition("=")[0]):
        override_recipe(tiny_recipe(TWO_SIZES), settings=[wrong])


def test_at_a_constant_rate_images_stay_whole():
    recipe = tiny_recipe(dataclasses.replace(TWO_SIZES, schedule="constant"))
    images, _ = next(Batches(planted_dataset(), recipe, device=CPU).stream(0, 1))
    assert images.shape[2:] == planted_dataset().image_size
