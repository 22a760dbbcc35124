"""The statistics are those that were planted in the images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.errors import UsageError
from convscope.methods.ascents.image_statistics import FLOOR, assumed_statistics, dataset_statistics, statistics_for
from convscope.types import Dataset, Network


def dataset(pixels: torch.Tensor) -> Dataset:
    labels = torch.arange(len(pixels)) % 2
    bytes_ = (pixels * 255).round().to(torch.uint8)
    return dataset_in_memory("planted", (bytes_, labels), (bytes_[:2], labels[:2]), ("a", "b"), source="drawn here")


def network(channels: int = 3) -> Network:
    model = nn.Conv2d(channels, 2, 3)
    return Network(model, (0.4,) * channels, (0.2,) * channels, (12, 9), ("a", "b"), "tiny")


@pytest.fixture
def images() -> torch.Tensor:
    """Two plane waves, of a red-and-green and of a blue, at random phases."""
    phases = torch.rand(400, 2, 1, 1, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    rows, columns = torch.meshgrid(torch.arange(12) / 12, torch.arange(10) / 10, indexing="ij")
    slow = 0.3 * torch.cos(2 * torch.pi * (rows + 2 * columns) + phases[:, 0])
    fast = 0.1 * torch.cos(2 * torch.pi * (3 * columns - 4 * rows) + phases[:, 1])
    return torch.stack([0.5 + slow, 0.4 + slow, 0.5 + fast], dim=1)


def test_mean_and_covariance_are_those_of_the_pixels(images):
    found = dataset_statistics(dataset(images))
    torch.testing.assert_close(found.mean, torch.tensor([0.5, 0.4, 0.5]), atol=2e-3, rtol=0)
    expected = torch.tensor([[0.045, 0.045, 0], [0.045, 0.045, 0], [0, 0, 0.005]])
    torch.testing.assert_close(found.colours @ found.colours.T, expected, atol=1e-3, rtol=0)


def test_each_plane_has_its_own_wave_as_spectrum(images):
    found = dataset_statistics(dataset(images))
    blue = int((found.colours[2].abs() > 0.05).nonzero())  # the direction that is blue alone
    grey = int(found.colours[0].abs().argmax())
    assert divmod(int(found.spectrum[grey].argmax()), 6) == (1, 2)
    assert divmod(int(found.spectrum[blue].argmax()), 6) == (12 - 4, 3)
    for plane, peak in ((grey, (1, 2)), (blue, (8, 3))):
        assert found.spectrum[plane][peak] == pytest.approx((12 * 10 / 2) ** 0.5, rel=0.01)  # all the variance
        assert found.spectrum[plane].flatten().sort().values[-2] < 0.05


def test_sample_is_spread_over_the_dataset():
    pixels = torch.zeros(100, 3, 8, 8)
    pixels[50:] = 1
    torch.testing.assert_close(dataset_statistics(dataset(pixels), most=10).mean, torch.full((3,), 0.5))


def test_images_that_are_all_alike_give_finite_statistics():
    found = dataset_statistics(dataset(torch.full((4, 3, 8, 8), 0.5)))
    assert found.colours.isfinite().all()
    assert torch.linalg.det(found.colours) != 0
    assert (found.spectrum >= FLOOR).all()


@pytest.mark.parametrize("size", [(24, 20), (12, 10), (9, 7), (11, 33)])
def test_resized_keeps_each_frequency(images, size):
    found = dataset_statistics(dataset(images))
    other = found.resized(size)
    assert other.spectrum.shape == (3, size[0], size[1] // 2 + 1)
    blue = int((found.colours[2].abs() > 0.05).nonzero())
    row, column = divmod(int(other.spectrum[blue].argmax()), size[1] // 2 + 1)
    assert torch.fft.fftfreq(size[0])[row].item() == pytest.approx(-4 / 12, abs=0.6 / size[0])
    assert column / size[1] == pytest.approx(0.3, abs=0.6 / size[1])
    noise = torch.fft.rfft2(torch.randn(50, 3, *size, generator=torch.Generator().manual_seed(0)), norm="ortho")
    planes = torch.fft.irfft2(noise * other.spectrum, s=size, norm="ortho")
    torch.testing.assert_close(planes.var((0, 2, 3)), torch.ones(3), rtol=0.3, atol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_without_a_dataset_the_deviation_is_the_networks_and_slow_is_strong(channels):
    found = assumed_statistics(network(channels))
    torch.testing.assert_close((found.colours @ found.colours.T).diagonal(), torch.full((channels,), 0.04))
    assert found.spectrum.shape == (channels, 12, 5)
    assert found.spectrum[0, 1, 0] == pytest.approx(4 * found.spectrum[0, 4, 0].item())
    assert found.mean.tolist() == pytest.approx([0.4] * channels)


@pytest.mark.parametrize("size", [(12, 9), (12, 10), (7, 6)])
def test_spectrum_is_that_of_planes_of_unit_variance(size):
    for found in (
        assumed_statistics(replace(network(), input_size=size)),
        assumed_statistics(network()).resized(size),
    ):
        twice = found.spectrum[..., 1:-1] if size[1] % 2 == 0 else found.spectrum[..., 1:]
        whole = torch.cat([found.spectrum, twice], dim=2)
        assert whole.shape[2] == size[1]
        torch.testing.assert_close(whole.square().mean((1, 2)), torch.ones(3))


def test_dataset_of_other_channels_is_refused(images):
    with pytest.raises(UsageError, match="planted has images of 3 channels; tiny takes 1"):
        statistics_for(network(1), dataset(images))
    assert statistics_for(network(), None).size == (12, 9)
