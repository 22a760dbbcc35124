"""A canvas starts as it should, from its key alone, and shows the dataset's colours and frequencies."""

from __future__ import annotations

import pytest
import torch

from convscope.errors import UsageError
from convscope.methods.ascents.canvas import (
    CONTRAST,
    PARAMETERIZATIONS,
    PIXEL_NOISE,
    canvas_from,
    noise,
    random_canvas,
)
from convscope.methods.ascents.image_statistics import ImageStatistics

SIZES = [(8, 8), (12, 9), (9, 12), (7, 5)]


def planted(size=(16, 16), channels=3) -> ImageStatistics:
    """Strongly mixed colours and the spectrum of real images that differ between rising and falling diagonals."""
    torch.manual_seed(3)
    mixing = torch.eye(channels) * 0.05 + torch.rand(channels, channels) * 0.1
    spectrum = torch.fft.rfft2(torch.randn(9, channels, *size)).abs().mean(0).square()
    times = torch.full((size[1] // 2 + 1,), 2.0)
    times[0], times[-1] = 1.0, 1.0 if size[1] % 2 == 0 else 2.0
    power = (spectrum.square() * times).sum((1, 2), keepdim=True) / (size[0] * size[1])
    return ImageStatistics(torch.linspace(0.3, 0.7, channels), mixing, spectrum / power.sqrt(), size)


def drawn(parameterization, size=(16, 16), channels=3, count=600):
    statistics = planted(size, channels)
    keys = [(0, channel, 0) for channel in range(count)]
    return statistics, random_canvas(parameterization, keys, size, statistics)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_images_are_in_range_and_differentiable(parameterization, channels, size):
    statistics = planted((8, 8), channels)
    canvas = random_canvas(parameterization, [(0, 1), (0, 2)], size, statistics)
    images = canvas.images()
    assert images.shape == (2, channels, *size)
    assert 0 < images.min() < images.max() < 1
    images.square().sum().backward()
    assert all(leaf.is_leaf and leaf.grad.isfinite().all() and leaf.grad.any() for leaf in canvas.parameters)
    assert all(len(leaf) == 2 for leaf in canvas.parameters)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_start_depends_on_the_key_alone(parameterization):
    statistics = planted()
    keys = [(0, channel, 1) for channel in range(64)]
    batch = random_canvas(parameterization, keys, (16, 16), statistics).images()
    for position in (0, 17, 63):
        single = random_canvas(parameterization, keys[position : position + 1], (16, 16), statistics).images()
        torch.testing.assert_close(single[0], batch[position])
    assert len({tuple(image.flatten().tolist()) for image in batch}) == 64


def test_key_parts_are_told_apart():
    keys = [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 12), (0, 1)]
    assert len({noise(key, (1,)).item() for key in keys}) == len(keys)


def test_fourier_start_has_the_colour_covariance_and_the_spectrum_of_the_dataset():
    statistics, canvas = drawn("fourier")
    pixels = canvas.images().detach() - statistics.mean[:, None, None]
    flat = pixels.movedim(1, 0).flatten(1)  # (C, N * H * W)
    covariance = flat @ flat.T / flat.shape[1] / CONTRAST**2
    expected = statistics.colours @ statistics.colours.T
    torch.testing.assert_close(covariance, expected, rtol=0.05, atol=0.05 * expected.max().item())
    planes = torch.einsum("cd,ndhw->nchw", torch.linalg.inv(statistics.colours), pixels) / CONTRAST
    root_mean_square = torch.fft.rfft2(planes, norm="ortho").abs().square().mean(0).sqrt()
    torch.testing.assert_close(root_mean_square, statistics.spectrum, rtol=0.25, atol=0.02)


def spectrum_of(canvas, statistics):
    """The amplitudes of the decorrelated planes before they were squashed, by undoing the squashing by hand."""
    centre = statistics.mean[:, None, None]
    values = (torch.logit(canvas.images().double()) - torch.logit(centre)) * (centre * (1 - centre))
    planes = torch.einsum("cd,ndhw->nchw", torch.linalg.inv(statistics.colours.double()), values)
    return torch.fft.rfft2(planes, norm="ortho").abs()


@pytest.mark.parametrize("size", [(16, 16), (9, 12), (8, 7)])
def test_maco_keeps_every_amplitude_while_its_phases_move(size):
    statistics, canvas = drawn("maco", size, count=3)
    before = canvas.images().detach()
    with torch.no_grad():
        canvas.parameters[0].add_(torch.randn(canvas.parameters[0].shape))
    assert (canvas.images() - before).abs().mean() > 0.01
    amplitudes = spectrum_of(canvas, statistics).detach()
    alone = torch.zeros_like(statistics.spectrum, dtype=torch.bool)  # real by themselves: the mean and its like
    for row in {0, size[0] // 2} if size[0] % 2 == 0 else {0}:
        for column in {0, size[1] // 2} if size[1] % 2 == 0 else {0}:
            alone[:, row, column] = True
    expected = statistics.spectrum.double().expand_as(amplitudes)
    torch.testing.assert_close(amplitudes[:, ~alone], expected[:, ~alone], rtol=1e-3, atol=1e-3)
    assert (amplitudes[:, alone] <= expected[:, alone] + 1e-3).all()


def test_pixel_start_is_the_mean_colour_with_a_little_noise():
    statistics, canvas = drawn("pixel")
    away = canvas.images().detach() - statistics.mean[:, None, None]
    assert 0.9 * PIXEL_NOISE < away.abs().max() < 1.06 * PIXEL_NOISE
    torch.testing.assert_close(away.mean((0, 2, 3)), torch.zeros(3), atol=3e-3, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("parameterization", ["pixel", "fourier"])
def test_canvas_from_images_shows_them(parameterization, size):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    images[0, :, 0, 0] = torch.tensor([0.0, 1.0, 0.5])
    canvas = canvas_from(parameterization, images, planted((8, 8)))
    assert (canvas.images() - images).abs().max() < 0.003
    canvas.images().sum().backward()
    assert canvas.parameters[0].grad.any()


def test_unknown_parameterizations_are_refused():
    with pytest.raises(UsageError, match='no parameterization "wavelet"; allowed: fourier, maco, pixel'):
        random_canvas.__wrapped__("wavelet", [(0, 0)], (8, 8), planted())
    with pytest.raises(UsageError, match='no "maco" of a given image; allowed: fourier, pixel'):
        canvas_from.__wrapped__("maco", torch.rand(1, 3, 8, 8), planted())
