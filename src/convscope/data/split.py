"""A split into train and test that holds each class's share and depends on the labels and the seed alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified_split(
    labels: NDArray[np.int64], *, one_in: int = 5, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ascending indices (N - M,) of the training and (M,) of the test images for labels (N,).

    One in five is a test image, of each class and altogether (rounded up); every class gives at least one
    to each side, so it must have two. Built on Philox's raw numbers, which NumPy promises to keep for ever
    (its random permutations are not), so that a split stays what it was.

    >>> stratified_split(np.array([0, 0, 0, 0, 1, 1]), one_in=2, seed=1)[1].tolist()
    [2, 3, 5]
    """
    counts = np.unique(labels, return_counts=True)[1]
    quotas = counts // one_in
    missing = -(-len(labels) // one_in) - quotas.sum()
    quotas[np.argsort(-(counts % one_in), kind="stable")[:missing]] += 1  # to the largest remainders
    quotas = np.clip(quotas, 1, counts - 1)

    keys = np.random.Philox(key=seed).random_raw(len(labels))
    order = np.argsort(keys, kind="stable")
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, each in the order of its keys
    chosen = np.zeros(len(labels), dtype=bool)
    for first, quota in zip(np.cumsum(counts) - counts, quotas, strict=True):
        chosen[order[first : first + quota]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
