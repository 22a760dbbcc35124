"""Statistics and fingerprints against naive counts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convscope.data.memory import (
    PixelSummary,
    TensorImages,
    channel_statistics,
    check_classes,
    dataset_in_memory,
    fingerprint,
)
from convscope.errors import DataError


def random_images(count, size=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=draw)


def small_dataset(train, test, labels=(0, 1, 0, 1), class_names=("cat", "dog")):
    return dataset_in_memory(
        "pets", (train, torch.tensor(labels)), (test, torch.tensor([0, 1])), class_names, source="a test"
    )


def test_batches_come_in_the_order_asked_for():
    pixels = random_images(5)
    images = TensorImages(pixels)
    first, second = images.batches([torch.tensor([4, 0]), torch.tensor([2])])
    assert images.shape == (5, 3, 5, 5)
    assert torch.equal(first, torch.stack([pixels[4], pixels[0]]))
    assert torch.equal(second, pixels[2:3])


@given(seed=st.integers(0, 2**32), count=st.integers(1, 40))
def test_statistics_equal_a_naive_computation(seed, count):
    pixels = random_images(count, seed=seed)
    mean, std = channel_statistics(pixels)
    values = pixels.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, values.std((0, 2, 3)), rtol=1e-12)


def test_a_channel_of_a_single_value_has_a_deviation_to_divide_by():
    pixels = random_images(3)
    pixels[:, 1] = 77
    mean, std = channel_statistics(pixels)
    assert mean[1] == 77 / 255
    assert std[1] == 1.0


@given(cuts=st.lists(st.integers(0, 30), max_size=4))
def test_a_summary_does_not_depend_on_how_the_images_were_cut_into_batches(cuts):
    pixels = random_images(30)
    whole, parts = PixelSummary(), PixelSummary()
    whole.add(pixels)
    for part in pixels.tensor_split(sorted(cuts)):
        parts.add(part)
    assert parts.statistics() == whole.statistics()
    assert parts.digest() == whole.digest()
    assert parts.shape == whole.shape == (30, 3, 5, 5)


def test_the_fingerprint_changes_with_everything_it_covers():
    train, test = random_images(4), random_images(2, seed=1)
    one_pixel = train.clone()
    one_pixel[2, 1, 4, 4] ^= 1
    datasets = [
        small_dataset(train, test),
        small_dataset(one_pixel, test),
        small_dataset(train, test, labels=(0, 1, 1, 1)),
        small_dataset(train, test, class_names=("cat", "wolf")),
        small_dataset(train, random_images(2, seed=2)),
        small_dataset(train.flip(0), test),
    ]
    assert len({dataset.fingerprint for dataset in datasets}) == len(datasets)
    assert small_dataset(train.clone(), test).fingerprint == datasets[0].fingerprint


def test_the_fingerprint_knows_the_shape_and_not_only_the_bytes():
    summaries = PixelSummary(), PixelSummary()
    summaries[0].add(torch.zeros((2, 3, 2, 8), dtype=torch.uint8))
    summaries[1].add(torch.zeros((2, 3, 4, 4), dtype=torch.uint8))
    label = torch.tensor([0, 0])
    wide, square = (fingerprint(each, label, each, label, ["cat"]) for each in summaries)
    assert summaries[0].digest() == summaries[1].digest()
    assert wide != square


def test_a_dataset_in_memory_carries_the_numbers_of_its_training_images():
    train, test = random_images(4), random_images(2, seed=1)
    dataset = small_dataset(train, test)
    assert (dataset.mean, dataset.std) == channel_statistics(train)
    assert dataset.image_size == (5, 5)
    assert torch.equal(next(iter(dataset.test.images.batches([torch.arange(2)]))), test)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 0], [0, 1], "pets: no train images of 1 of 2 classes: dog; each class needs at least one"),
        ([0, 1], [1], "pets: no test images of 1 of 2 classes: cat; each class needs at least one"),
        ([0, 1], [], "pets: no test images at all; each class needs at least one"),
    ],
)
def test_empty_classes_and_halves_are_named(train, test, message):
    with pytest.raises(DataError) as error:
        check_classes(
            torch.tensor(train, dtype=torch.int64),
            torch.tensor(test, dtype=torch.int64),
            ["cat", "dog"],
            where="pets",
        )
    assert str(error.value) == message
    assert error.value.exit_code == 3
