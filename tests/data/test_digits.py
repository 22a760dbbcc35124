"""The digits: their split, their pixels, their fingerprint."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import datasets

from convscope.data.digits import enlarge, load_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_the_digits_are_what_they_were(digits):
    assert digits.train.images.shape == (1437, 3, 32, 32)
    assert digits.test.images.shape == (360, 3, 32, 32)
    assert digits.train.labels.bincount().tolist() == [142, 145, 142, 146, 145, 146, 145, 143, 139, 144]
    assert digits.fingerprint == "c13037705ffb107eb9075713e9272eb7276cfda772cfa28140892a4633ca257b"
    assert digits.class_names == tuple("0123456789")
    assert not digits.mirror


def test_each_image_keeps_its_label(digits):
    values, answers = datasets.load_digits(return_X_y=True)
    originals = {value.tobytes(): answer for value, answer in zip(values, answers, strict=True)}
    for half in (digits.train, digits.test):
        (pixels,) = half.images.batches([torch.arange(half.images.shape[0])])
        assert torch.equal(pixels[:, 0], pixels[:, 1])
        assert torch.equal(pixels[:, 0], pixels[:, 2])
        for image, label in zip(pixels[:, 0].double(), half.labels.tolist(), strict=True):
            found = nearest(image, values)
            assert originals[found.tobytes()] == label


def nearest(image, values):
    """The 8x8 original whose mean brightness is nearest in every cell of the enlarged image."""
    cells = image.reshape(8, 4, 8, 4).mean((1, 3)).flatten().numpy() / 255 * 16
    return values[np.square(values - cells).sum(1).argmin()]


def test_ink_is_light_on_black(digits):
    (pixels,) = digits.train.images.batches([torch.arange(100)])
    assert pixels.max() == 255
    assert pixels[:, :, :, 0].float().mean() < 20


def test_enlarging_agrees_with_pillow_away_from_the_border():
    ink = np.random.default_rng(0).integers(0, 17, (3, 8, 8)) / 16
    for small, large in zip(ink, enlarge(ink), strict=True):
        reference = Image.fromarray(small.astype(np.float32)).resize((32, 32), Image.Resampling.BICUBIC)
        inner = slice(8, 24)  # nearer to the border Pillow leaves out what is missing, and we take it as black
        np.testing.assert_allclose(large[inner, inner], np.asarray(reference).clip(0, 1)[inner, inner], atol=1e-6)


def test_enlarging_is_exact():
    ink = np.random.default_rng(0).integers(0, 17, (5, 8, 8)) / 16
    large = enlarge(ink)
    assert np.array_equal(large, enlarge(ink[::-1])[::-1])
    assert np.array_equal(large, enlarge(ink.transpose(0, 2, 1)).transpose(0, 2, 1))
    assert np.array_equal(large * 2**24, np.rint(large * 2**24))
