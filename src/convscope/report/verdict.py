"""Which contender is best, and whether by more than chance: the answer in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from convscope.report.contenders import Contender, share_test_images
from convscope.report.page import listed, percent
from convscope.report.results import Z
from convscope.report.standings import Standing


def answer(
    contenders: Sequence[Contender],
    standings: Sequence[Standing],
    chances: Mapping[tuple[str, str], float],
) -> list[str]:
    """Which one is best, and whether by more than chance, in sentences; the first is the answer.

    `chances` are the differences that 95 % of chance stays within, by pairs of names, where two contenders could be
    compared image by image; elsewhere they are estimated from the accuracies alone.
    """
    ranked = sorted((each for each in standings if each.values("test_accuracy")), key=lambda each: -_accuracy(each))
    unfinished = [
        f"{each.name} has not finished: its figures are those so far." for each in ranked if each.unfinished
    ]
    if not share_test_images(contenders):
        return [
            "These runs were tested on different images: their accuracies do not say which training is the better.",
            *unfinished,
        ]
    if not ranked:
        return ["Nothing has been evaluated yet."]
    images = contenders[0].members[0].run.config["dataset"]["test_images"]
    if len(ranked) == 1:
        return [_alone(ranked[0], images), *unfinished]
    best, *others = ranked
    verdicts = [_verdict(best, other, _chance(best, other, chances, images), images) for other in others]
    even = [other for other, verdict in zip(others, verdicts, strict=True) if not verdict.clear]
    accuracy = f"{percent(_accuracy(best))} of {images:,} test images{_over_seeds(best)}"
    if not even:
        first = f"{best.name} ends best, with {accuracy}."
    elif len(even) == len(others):
        first = f"No clear winner: {best.name} ends highest, with {accuracy}, but by no more than chance."
    else:
        together = listed([each.name for each in (best, *even)])
        first = f"{together} end best, without a clear difference: the highest is {best.name}, with {accuracy}."
    single = [each.name for each in ranked if len(each.values("test_accuracy")) == 1]
    closing = (
        [f"How much another seed would change is not known of {listed(single)}: --seeds 3 tells."] if single else []
    )
    return [first, *(verdict.words for verdict in verdicts), *closing, *unfinished]


class _Verdict(NamedTuple):
    clear: bool
    words: str


def _verdict(best: Standing, other: Standing, chance: float, images: int) -> _Verdict:
    """Whether the best is better than the other by more than seeds and test images make by chance."""
    gap = _accuracy(best) - _accuracy(other)
    lead = f"{_points(gap)} above {other.name}"
    on_images = f"on {images:,} test images chance alone makes ±{100 * chance:.1f}"
    highs, lows = best.values("test_accuracy"), other.values("test_accuracy")
    if min(len(highs), len(lows)) < 2:
        if gap > chance:
            return _Verdict(True, f"It is {lead}; {on_images}.")
        return _Verdict(False, f"It is only {lead}; {on_images}.")
    once_in = math.comb(len(highs) + len(lows), len(highs)) // 2  # either of the two might have come out above
    if min(highs) <= max(lows):
        paired = best.seeds == other.seeds and all(a > b for a, b in zip(highs, lows, strict=True))
        with_each = ", and with each seed" if paired else ""
        ranges = f"{percent(min(highs))} to {percent(max(highs))} and {percent(min(lows))} to {percent(max(lows))}"
        return _Verdict(
            False, f"It is {lead} on average{with_each}, but their seeds overlap ({ranges}): no more than seeds make."
        )
    beats = f"each of its seeds beats each of {other.name}'s (by luck this happens once in {once_in} times)"
    if gap <= chance:
        return _Verdict(False, f"It is {lead}, and {beats}, but {on_images}.")
    return _Verdict(True, f"It is {lead}, more than between seeds: {beats}; {on_images}.")


def _alone(standing: Standing, images: int) -> str:
    """What seeds alone change."""
    values = standing.values("test_accuracy")
    low, high = min(values), max(values)
    mean = f"{standing.name}: {percent(_accuracy(standing))} of {images:,} test images{_over_seeds(standing)}"
    if len(values) == 1:
        return f"{mean}."
    spread = f"from {percent(low)} to {percent(high)}"
    return f"{mean}, {spread}: what differs by less than {_points(high - low)} may be the seed."


def _over_seeds(standing: Standing) -> str:
    count = len(standing.values("test_accuracy"))
    return f" on average over {count} seeds" if count > 1 else ""


def _accuracy(standing: Standing) -> float:
    return standing.means["test_accuracy"]


def _points(share: float) -> str:
    """A difference of shares in percentage points.

    >>> _points(0.0123), _points(0.01)
    ('1.2 points', '1.0 points')
    """
    return f"{100 * share:.1f} points"


def _chance(best: Standing, other: Standing, chances: Mapping[tuple[str, str], float], images: int) -> float:
    """The difference that chance alone makes, image by image where that is known, else of two independent shares."""
    for pair in ((best.name, other.name), (other.name, best.name)):
        if pair in chances:
            return chances[pair]
    spread = sum(_accuracy(each) * (1 - _accuracy(each)) for each in (best, other))
    return Z * math.sqrt(spread / images)
