"""What this run's own numbers say below the figures of its training, of its results and of its film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from convscope.models.zoo import PRETRAINED, is_factory
from convscope.report.page import percent
from convscope.report.results import SURE, wilson_interval
from convscope.training.frames import Frame
from convscope.types import Event


def has_risen(lowest: float, last: float, mistakes: float) -> bool:
    """Whether a test loss has risen by more than as many other test images might have moved it.

    What a network gets wrong makes up most of its loss, so that a loss is about as uncertain as the number of
    `mistakes`, by 1/√mistakes of itself; it has risen where it ends more than twice that above its lowest.

    >>> has_risen(0.145, 0.161, mistakes=5), has_risen(0.145, 0.161, mistakes=500)
    (False, True)
    """
    return last > lowest * (1 + 2 / sqrt(max(1, mistakes)))


def mistakes_of(evaluation: Mapping[str, Any], images: int | None) -> float:
    """How many of so many test images an evaluation got wrong; 0 where their number is unknown.

    >>> mistakes_of({"test_accuracy": 0.75}, 360), mistakes_of({"test_accuracy": 0.75}, None)
    (90.0, 0.0)
    """
    return (1 - evaluation["test_accuracy"]) * (images or 0)


def began_said(config: Mapping[str, Any]) -> str:
    """What a training began with, by its run.json.

    >>> began_said({"weights": "runs/first"}), began_said({"weights": None, "recipe": {"model": "resnet8"}})
    ('the weights of first', 'random weights')
    """
    weights, name = config.get("weights"), (config.get("recipe") or {}).get("model", "")
    if weights == PRETRAINED:
        return f"the weights that {name.partition(':')[0]} has for it"
    if weights:
        return f"the weights of {Path(weights).name}"
    return f"the weights that {name} gives it" if is_factory(name) else "random weights"


def smaller_images(recipe: Mapping[str, Any]) -> dict[int, float]:
    """The places of the phases that see smaller images while their rate rises, each with the share of their sides.

    >>> smaller_images({"phases": [{"schedule": "one-cycle", "warmup": 1.0, "resolution": 0.75}, {}]})
    {0: 0.75}
    """
    phases = enumerate(recipe.get("phases") or [])
    shares = {place: phase.get("resolution", 1.0) for place, phase in phases if phase.get("warmup")}
    return {place: share for place, share in shares.items() if share < 1}


def sizes_said(recipe: Mapping[str, Any], side: int) -> str:
    """Which phases saw smaller images, and what that does to their test accuracy; "" where none did.

    >>> sizes_said({"phases": [{"warmup": 1.0, "resolution": 0.75}]}, 32)[:72]
    'While its learning rate rose, phase 1 saw images of 24 pixels instead of'
    """
    texts = [
        f"While its learning rate rose, phase {place + 1} saw images of {round(side * share)} pixels instead of "
        f"{side}, which takes less time. Test images keep their size, which it was not trained on: its test accuracy "
        "says less than it has learned."
        for place, share in smaller_images(recipe).items()
    ]
    return " ".join(texts)


def curves_said(events: Sequence[Event]) -> str:
    """Where the curves begin and end, and how much of their up and down means nothing."""
    losses = [event.data["loss"] for event in events if event.kind == "train" and "loss" in event.data]
    tests = [event.data for event in events if event.kind == "eval" and "test_accuracy" in event.data]
    texts: list[str] = []
    if len(losses) > 1:
        width = max(1, len(losses) // 20)
        first, last = np.mean(losses[:width]), np.mean(losses[-width:])
        texts.append(f"The loss on training batches went from {first:.3g} to {last:.3g}.")
    if len(tests) > 1:
        moves = [after["test_accuracy"] - before["test_accuracy"] for before, after in pairwise(tests)]
        largest = int(np.argmax(moves))
        texts.append(
            f"Test accuracy rose most, by {100 * moves[largest]:.1f} points, from epoch "
            f"{tests[largest]['epoch']:.3g} to {tests[largest + 1]['epoch']:.3g}"
            if moves[largest] > 0
            else "Test accuracy never rose"
        )
        late = [abs(move) for move in moves[len(moves) // 2 :]]
        texts[-1] += (
            f"; in the later half it moved by {100 * median(late):.1f} points from one evaluation to the next, "
            "up or down: a single move of that size says little."
        )
    return " ".join(texts)


def confusion_said(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    """Which two classes are taken for each other, and which is named too often; "" without a mistake."""
    errors = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    if not errors.any():
        return ""
    both = np.triu(errors + errors.T)
    one, other = divmod(int(both.argmax()), len(both))
    excess = matrix.sum(axis=0) - matrix.sum(axis=1)
    often, seldom = int(excess.argmax()), int(excess.argmin())
    text = (
        f"“{class_names[one]}” and “{class_names[other]}” are taken for each other {both[one, other]:,} times, "
        f"{percent(both[one, other] / errors.sum(), 0)} of all {errors.sum():,} mistakes."
    )
    if excess[often] > 0:
        said, there = matrix.sum(axis=0), matrix.sum(axis=1)
        text += (
            f" Named too often is above all “{class_names[often]}” ({said[often]:,} times for {there[often]:,} "
            f"images), too seldom “{class_names[seldom]}” ({said[seldom]:,} for {there[seldom]:,})."
        )
    return text


def classes_said(matrix: np.ndarray) -> str:
    """How many classes are surely better or worse than all together; "" for fewer than two classes."""
    totals, right = matrix.sum(axis=1), np.diag(matrix)
    there = np.flatnonzero(totals)
    if len(there) < 2:
        return ""
    overall = right.sum() / totals.sum()
    bounds = [wilson_interval(int(right[index]), int(totals[index])) for index in there]
    above, below = sum(low > overall for low, _ in bounds), sum(high < overall for _, high in bounds)
    shares = right[there] / totals[there]
    return (
        f"{above} of {len(there)} classes lie above the accuracy over all with their whole interval, and {below} "
        f"below it; from the best to the weakest it is {100 * (shares.max() - shares.min()):.1f} points."
    )


def sureness_said(found: Mapping[str, Any]) -> str:
    """Whether the network's probabilities can be believed; `found` are `results.findings`."""
    if found.get("sure_all") is None:
        return ""
    gap = 100 * (found["sure_all"] - found["accuracy"])
    text = f"It is {percent(found['sure_all'])} sure on average and right in {percent(found['accuracy'])}: "
    text += (
        f"{abs(gap):.1f} points too {'sure' if gap > 0 else 'modest'}."
        if abs(gap) >= 1
        else "on average its probabilities can be believed."
    )
    if found["sure"]:
        text += (
            f" Of the {found['sure']:,} answers that it is {percent(SURE, 0)} sure of and more, "
            f"{percent(found['sure_wrong_of'] / found['sure'])} are wrong."
        )
    return text


def film_said(frames: Sequence[Frame]) -> str:
    """How far the filters went, and when; "" for a single frame."""
    if len(frames) < 2:
        return ""
    filters = [frame.filters.astype(np.float64) for frame in frames]
    away = [float(np.linalg.norm(each - filters[0])) for each in filters]
    length = float(np.linalg.norm(filters[0]))
    if not (away[-1] > 0 and length > 0):
        return "Between the first frame and the last the filters have not moved."
    half = next(place for place, each in enumerate(away) if each >= away[-1] / 2)
    return (
        f"From step {frames[0].step:,} to step {frames[-1].step:,} the filters moved by {away[-1] / length:.2f} "
        f"times their own length; half of that way was behind them at step {frames[half].step:,}."
    )
