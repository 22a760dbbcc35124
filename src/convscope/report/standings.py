"""Where each contender ended, when it reached which accuracy, and how far chance alone could have moved it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.report.contenders import Contender
from convscope.report.results import Z
from convscope.types import Event

FIGURES = ("test_accuracy", "train_accuracy", "test_loss", "train_loss")


class Final(NamedTuple):
    """Where a run stands: at its end, or, where it has none, at its last evaluation."""

    finished: bool
    step: int
    seconds: float
    figures: Mapping[str, float]  # those of FIGURES that are known


def final_of(events: Sequence[Event]) -> Final:
    """A run's newest figures."""
    ends = [event for event in events if event.kind == "end" and "test_accuracy" in event.data]
    told = ends or [event for event in events if event.kind == "eval"]
    last = events[-1] if events else Event("start", 0, 0.0, {})
    figures = {key: told[-1].data[key] for key in FIGURES if key in told[-1].data} if told else {}
    return Final(bool(ends), last.step, last.time, figures)


class Standing(NamedTuple):
    """A contender's final figures over its seeds."""

    name: str
    seeds: list[int]
    finals: list[Final]  # of each seed
    means: dict[str, float]  # of FIGURES, "step" and "seconds"
    deviations: dict[str, float]  # sample deviations; empty for a single seed

    def values(self, key: str) -> list[float]:
        """The figure of each seed that has it."""
        return [final.figures[key] for final in self.finals if key in final.figures]

    @property
    def unfinished(self) -> int:
        """How many of its runs have not come to their end."""
        return sum(not final.finished for final in self.finals)


def standing_of(contender: Contender) -> Standing:
    """The contender's figures: means over its seeds, and deviations from two seeds on."""
    finals = [final_of(member.events) for member in contender.members]
    lists = {key: [final.figures[key] for final in finals if key in final.figures] for key in FIGURES}
    lists |= {"step": [float(final.step) for final in finals], "seconds": [final.seconds for final in finals]}
    means = {key: statistics.fmean(values) for key, values in lists.items() if values}
    deviations = {key: statistics.stdev(values) for key, values in lists.items() if len(values) > 1}
    return Standing(contender.name, [member.seed for member in contender.members], finals, means, deviations)


class Difference(NamedTuple):
    """How much more of each class, and last of all images, one contender gets right than another, as shares."""

    points: NDArray[np.float64]  # (classes + 1,): nan where there are no images
    chance: NDArray[np.float64]  # (classes + 1,): 95 % of the differences that chance alone makes lie within ± this
    seeds: NDArray[np.float64]  # (pairs, classes + 1): the difference for each seed that both have
    apart: NDArray[np.bool_]  # (classes + 1,): each seed of the one lies above each seed of the other

    @property
    def clear(self) -> NDArray[np.bool_]:
        """(classes + 1,): larger than chance makes, and than seeds make."""
        return (np.abs(self.points) > self.chance) & self.apart


def difference_of(
    right: Mapping[int, NDArray[np.float64]],
    other: Mapping[int, NDArray[np.float64]],
    labels: NDArray[np.int64],
    classes: int,
) -> Difference:
    """The first less the other; by seed (N,), 1 where a test image is classified correctly, else 0.

    Seeds are averaged image by image. Chance is what comes out when the two contenders' answers to an image are
    swapped at random, image by image: the deviation of the sum is then √Σd², d the difference on each image
    (for single runs this is the test of McNemar 1947).
    """

    def by_class(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.append(np.bincount(labels, values, classes), values.sum()).astype(np.float64)

    counts = by_class(np.ones(len(labels)))
    delta = np.mean(list(right.values()), 0) - np.mean(list(other.values()), 0)  # (N,)
    ones, twos = (
        np.stack([by_class(one) for one in each.values()]) for each in (right, other)
    )  # (seeds, classes + 1)
    shared = [by_class(right[seed] - other[seed]) for seed in right if seed in other]
    with np.errstate(invalid="ignore", divide="ignore"):
        points, chance = by_class(delta) / counts, Z * np.sqrt(by_class(delta**2)) / counts
        seeds = np.reshape(shared, (len(shared), classes + 1)) / counts
    apart = (ones.min(0) > twos.max(0)) | (ones.max(0) < twos.min(0))
    return Difference(points, chance, seeds, apart)


class Reach(NamedTuple):
    """When a contender first reached a test accuracy: means over its seeds, None unless all of them did."""

    seeds: int  # that did
    step: float | None
    epoch: float | None
    seconds: float | None


LEVELS = (
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.55,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.925,
    0.95,
    0.96,
    0.97,
    0.98,
    0.99,
    0.995,
    0.999,
)
MOST_LEVELS = 8


def reaches(contenders: Sequence[Contender]) -> dict[float, list[Reach]]:
    """For round levels of test accuracy, when each contender's evaluations first reached it."""
    evals = [[_evaluations(member.events) for member in contender.members] for contender in contenders]
    known = [run for runs in evals for run in runs if run]
    if not known:
        return {}
    low = min(run[0].data["test_accuracy"] for run in known)
    high = max(event.data["test_accuracy"] for run in known for event in run)
    levels = [level for level in LEVELS if low < level <= high][-MOST_LEVELS:]
    return {level: [_reach(runs, level) for runs in evals] for level in levels}


def _evaluations(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.kind == "eval"]


def _reach(runs: Sequence[Sequence[Event]], level: float) -> Reach:
    """When the runs of one contender first reached the level."""
    first = [next((event for event in run if event.data["test_accuracy"] >= level), None) for run in runs]
    found = [event for event in first if event is not None]
    if len(found) < len(runs):
        return Reach(len(found), None, None, None)
    columns: list[list[Any]] = [
        [event.step for event in found],
        [event.data["epoch"] for event in found],
        [event.time for event in found],
    ]
    return Reach(len(found), *(statistics.fmean(column) for column in columns))
