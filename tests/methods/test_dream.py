"""Dreams raise what they say they raise, by steps that a slow reference takes alike, and stay near their image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.methods.dream import climb, dream, octave_sizes
from convscope.types import Network


def network(model: nn.Module, channels: int = 3) -> Network:
    return Network(model, (0.5,) * channels, (0.25,) * channels, (16, 16), ("a", "b"), "tiny")


def photograph(channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    """Smooth noise, away from black and white."""
    noise = torch.rand(1, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (height, width), mode="bilinear")[0] * 0.6 + 0.2


def small(channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3), nn.ReLU(inplace=True))


@pytest.mark.parametrize(
    ("size", "octaves", "scale", "expected"),
    [
        ((32, 32), 4, 1.4, [(32, 32), (45, 45), (63, 63), (88, 88)]),
        ((300, 200), 3, 1.5, [(133, 89), (200, 133), (300, 200)]),
        ((8, 16), 2, 2, [(8, 16), (16, 32)]),
        ((20, 200), 4, 2, [(10, 100), (20, 200)]),
        ((4, 200), 2, 2, [(4, 200)]),
        ((6, 6), 2, 2, [(6, 6), (12, 12)]),
        ((64, 64), 1, 1.4, [(64, 64)]),
    ],
)
def test_octave_sizes_by_hand(size, octaves, scale, expected):
    assert octave_sizes(size, octaves=octaves, scale=scale) == expected


def test_step_equals_the_reference():
    """The gradient of a linear layer by hand, its frequencies weighted one by one with a whole transform.

    The layer sees every other pixel, so that it matters where the image is moved to.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 1, stride=2, bias=False))
    image = photograph(height=6, width=7)[None]
    colours = torch.randn(3, 3)
    stepped = climb(network(model), "0", image, None, step=0.01, shifts=(2, -3), colours=colours)

    weight = model[0].weight.detach()[:, :, 0, 0]
    inputs = ((image[0] - 0.5) / 0.25).roll((2, -3), (1, 2))
    maps = torch.einsum("kc,chw->khw", weight, inputs[:, ::2, ::2])
    gradient = torch.zeros_like(inputs)
    gradient[:, ::2, ::2] = torch.einsum("kc,khw->chw", weight, 2 * maps / maps.numel()) / 0.25
    gradient = gradient.roll((-2, 3), (1, 2))
    frequencies = torch.fft.fft2(torch.einsum("cd,dhw->chw", colours, gradient))
    for y in range(6):
        for x in range(7):
            frequency = np.hypot(min(y, 6 - y) / 6, min(x, 7 - x) / 7)
            frequencies[:, y, x] *= 1 / max(frequency, 1 / 20) if x or y else 0
    direction = torch.fft.ifft2(frequencies).real
    expected = image[0] + 0.01 * direction / direction.square().mean().sqrt()
    torch.testing.assert_close(stepped[0], expected)
    assert (stepped - image).square().mean().sqrt().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("layer", ["0", "2", "3"])
def test_dream_raises_the_mean_square_of_the_layer(layer):
    model = small()
    picture = dream(network(model), layer, photograph())
    assert picture.values.shape == (2, 3, 44, 44)
    with torch.no_grad():
        inputs = network(model).normalize(torch.from_numpy(picture.values))
        before, after = model[: int(layer) + 1](inputs).square().mean((1, 2, 3)).tolist()
    assert after > 1.1 * before
    assert picture.numbers["activation_before"] == pytest.approx(before, rel=1e-4)
    assert picture.numbers["activation_after"] == pytest.approx(after, rel=1e-4)


def test_silent_channel_is_raised_before_its_relu():
    model = small()
    model[2].bias.data[4] = -10
    picture = dream(network(model), "3", photograph(), 4)
    with torch.no_grad():
        inputs = network(model).normalize(torch.from_numpy(picture.values))
        before, after = model[:3](inputs)[:, 4].mean((1, 2)).tolist()
    assert before < after < 0
    assert picture.numbers["activation_after"] == pytest.approx(after, rel=1e-4)
    assert picture.title == "What channel 4 of 3 sees in the image, made stronger"


@pytest.mark.parametrize("strength", [0.0, 0.02, 0.1])
def test_dream_stays_within_its_strength(strength):
    picture = dream(network(small()), "3", photograph(), strength=strength)
    change = np.sqrt(((picture.values[1] - picture.values[0]) ** 2).mean())
    assert picture.numbers["change"] == pytest.approx(change, rel=1e-4, abs=1e-7)
    assert change <= strength * 1.001
    assert change >= strength * 0.5
    assert picture.values.min() >= 0
    assert picture.values.max() <= 1


def test_large_image_keeps_its_size_and_its_pixels():
    image = photograph(height=96, width=130)
    picture = dream(network(small()), "1", image, octaves=2, steps=1)
    np.testing.assert_allclose(picture.values[0], image.numpy(), atol=1e-6)
    assert picture.numbers["octave_sizes"] == [[69, 93], [96, 130]]


def test_many_octaves_of_a_large_image_end_at_its_own_size():
    picture = dream(network(small()), "1", photograph(height=130, width=96), octaves=40, steps=1)
    assert picture.numbers["octave_sizes"][-1] == [130, 96]


def test_file_name_holds_no_slash():
    model = small().append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(6, 2))
    net = replace(network(model), class_names=("cat/x", "b"))
    assert dream(net, "6", photograph(), "cat/x", octaves=1, steps=1).name == "dream-6-cat-x"


def test_equal_seeds_give_equal_dreams_and_others_do_not():
    dreams = [dream(network(small()), "3", photograph(), octaves=2, steps=3, seed=seed).values for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dreams[0], dreams[1])
    assert np.abs(dreams[0][1] - dreams[2][1]).max() > 1e-4


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 16, 16), (5, 16, 16), (3, 9, 20), (3, 8, 8)])
def test_other_images_work(channels, height, width):
    net = network(small(channels), channels)
    picture = dream(net, "3", photograph(channels, height, width), octaves=2, octave_scale=1.5, steps=3)
    assert picture.values.shape == (2, 3, round(height * 1.5), round(width * 1.5))
    assert picture.numbers["activation_after"] > picture.numbers["activation_before"]


def test_network_of_one_size_dreams_in_one_octave():
    model = small().append(nn.Flatten()).append(nn.Linear(6 * 12 * 12, 2))
    picture = dream(network(model), "5", photograph(), "b", steps=3)
    assert picture.numbers["octave_sizes"] == [[16, 16]]
    assert "takes images of one size only" in picture.caption
    assert picture.numbers["activation_after"] > picture.numbers["activation_before"]
    assert "one size only" not in dream(network(model), "3", photograph(), steps=1).caption
    assert "one size only" not in dream(network(model), "5", photograph(), octaves=1, steps=1).caption


def test_interruption_gives_the_dream_so_far_at_full_size():
    seen: list[int] = []

    def progress(_what: str, done: int, total: int | None) -> None:
        assert total == 12
        seen.append(done)
        if done == 4:  # the end of the first octave
            raise KeyboardInterrupt

    picture = dream(network(small()), "3", photograph(), octaves=3, steps=4, progress=progress)
    assert seen == [1, 2, 3, 4]
    assert picture.numbers["interrupted"] is True
    assert picture.values.shape == (2, 3, 31, 31)
    assert picture.numbers["activation_after"] > picture.numbers["activation_before"]


def test_what_was_added_is_carried_to_the_next_octave():
    whole = dream(network(small()), "3", photograph(), octaves=2, steps=10, strength=0.2)
    last = dream(network(small()), "3", torch.from_numpy(whole.values[0]), octaves=1, steps=10, strength=0.2)
    assert whole.numbers["activation_after"] > last.numbers["activation_after"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"octaves": 0}, "octaves 0; allowed: 1 or more"),
        ({"octave_scale": 1.0}, "octave_scale 1; allowed: 1.1 or more"),
        ({"steps": 0}, "steps 0; allowed: 1 or more"),
        ({"strength": -0.5}, "strength -0.5; allowed: 0 or more"),
        ({"seed": -1}, "seed -1; allowed: 0 or more"),
        ({"octaves": 40}, "octaves 40 with octave_scale 1.4 end at 8e\\+06 pixels a side; allowed: up to 2048"),
        ({"octaves": 2, "octave_scale": 129.0}, "octaves 2 with octave_scale 129 end at 2064 pixels a side"),
        ({"octaves": 9000}, "octaves 9000 with octave_scale 1.4 end at inf pixels a side"),
    ],
)
def test_knobs_that_do_not_fit_are_refused(knobs, message):
    with pytest.raises(UsageError, match=message):
        dream(network(small()), "1", photograph(), **knobs)
