"""The stratified split: shares, seeds, and that it never changes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convscope.data.split import stratified_split


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    seed=st.integers(0, 2**64),
    one_in=st.integers(2, 9),
)
def test_every_image_is_on_one_side_and_every_class_on_both(counts, seed, one_in):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, test = stratified_split(labels, one_in=one_in, seed=seed)
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    for label, count in enumerate(counts):
        share = (labels[test] == label).sum()
        assert 1 <= share <= count - 1
        assert share == 1 or abs(share - count / one_in) < 1


def test_the_seed_decides():
    labels = np.repeat(np.arange(4), 25)
    first, again, other = (stratified_split(labels, seed=seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_the_split_stays_what_it_was():
    labels = np.array([0] * 10 + [1] * 7 + [2] * 3)
    assert stratified_split(labels, seed=5)[1].tolist() == [2, 9, 12, 19]
