"""The handwritten digits that install with scikit-learn: a real dataset that needs no network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from convscope.data.memory import dataset_in_memory
from convscope.data.split import stratified_split
from convscope.types import Dataset

ENLARGE = 4  # 8x8 to 32x32
SPLIT_SEED = 1797


def load_digits() -> Dataset:
    """1,437 training and 360 test digits (N, 3, 32, 32) uint8, light ink on black, always split alike.

    >>> load_digits().test.images.shape
    (360, 3, 32, 32)
    """
    from sklearn import datasets  # slow to import, and needed here alone

    values, answers = datasets.load_digits(return_X_y=True)  # (N, 64) in 0..16, (N,)
    labels = np.asarray(answers, dtype=np.int64)
    ink = enlarge(np.asarray(values, dtype=np.float64).reshape(-1, 8, 8) / 16)  # (N, 32, 32) in [0, 1]
    pixels = torch.from_numpy(np.rint(ink * 255).astype(np.uint8)).unsqueeze(1).repeat(1, 3, 1, 1)
    classes = torch.from_numpy(labels)
    train, test = (torch.from_numpy(half) for half in stratified_split(labels, seed=SPLIT_SEED))
    return dataset_in_memory(
        "digits",
        (pixels[train], classes[train]),
        (pixels[test], classes[test]),
        [str(digit) for digit in range(10)],
        source="scikit-learn's handwritten digits (UCI, 8x8), enlarged to 32x32",
        mirror=False,
    )


def enlarge(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """Images (N, 8, 8) in [0, 1] enlarged fourfold to (N, 32, 32) in [0, 1], by Keys' bicubic kernel (1981).

    All weights are small binary fractions, so the result is exact: the same on every machine, whatever the
    order of summation. (Pillow's enlargement may change with its version, and with it the fingerprint.)
    """
    size = ink.shape[-1]
    centres = (np.arange(size * ENLARGE) + 0.5) / ENLARGE - 0.5  # where the new pixels lie among the old
    distance = np.abs(centres[:, None] - np.arange(-2, size + 2))  # two black pixels around: ink fades out
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))  # (32, 12)
    padded = np.pad(ink, ((0, 0), (2, 2), (2, 2)))
    return np.clip(weights @ padded @ weights.T, 0, 1)
