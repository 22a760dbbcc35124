"""What the compared runs' own numbers say below the figures of how they got where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from convscope.report.contenders import Contender
from convscope.report.page import duration, listed, percent
from convscope.report.standings import Reach, Standing
from convscope.report.training_words import has_risen, mistakes_of


def seeds_said(standings: Sequence[Standing]) -> str:
    """How far apart the seeds of each contender lie; "" where each has one."""
    spreads = {each.name: each.values("test_accuracy") for each in standings}
    texts = [
        f"those of {name} {100 * (max(values) - min(values)):.1f}" for name, values in spreads.items() if values[1:]
    ]
    if not texts:
        return ""
    return f"From the best to the worst of a contender's seeds it is so many points: {', '.join(texts)}."


def curves_said(contenders: Sequence[Contender]) -> str:
    """Where each contender was best, and where it ended; means over seeds."""
    texts: list[str] = []
    risen: list[str] = []
    for contender in contenders:
        runs = [[event.data for event in each.events if event.kind == "eval"] for each in contender.members]
        runs = [[data for data in run if "test_accuracy" in data and "test_loss" in data] for run in runs]
        if not all(runs):
            continue
        best = [max(run, key=lambda data: data["test_accuracy"]) for run in runs]
        least = [min(run, key=lambda data: data["test_loss"]) for run in runs]
        last = [run[-1] for run in runs]
        texts.append(
            f"{contender.name} was best with {percent(_mean(best, 'test_accuracy'))} after epoch "
            f"{_mean(best, 'epoch'):.3g} and ended with {percent(_mean(last, 'test_accuracy'))}; its test loss was "
            f"lowest, {_mean(least, 'test_loss'):.3g}, after epoch {_mean(least, 'epoch'):.3g} and ended at "
            f"{_mean(last, 'test_loss'):.3g}."
        )
        images = contender.members[0].run.config["dataset"]["test_images"]
        mistakes = fmean(mistakes_of(data, images) for data in least)
        if has_risen(_mean(least, "test_loss"), _mean(last, "test_loss"), mistakes):
            risen.append(contender.name)
    if risen:
        texts.append(f"A test loss that rises, as that of {listed(risen)}, tells of growing sure of mistakes.")
    return " ".join(texts)


def costs_said(levels: Mapping[float, Sequence[Reach]], names: Sequence[str]) -> str:
    """Who first reached the highest accuracy that all reached, and who got beyond it; "" for a single contender."""
    if len(names) < 2:
        return ""
    reached = [level for level, row in levels.items() if all(each.epoch is not None for each in row)]
    texts: list[str] = []
    if reached:
        row = zip(levels[reached[-1]], names, strict=True)
        rows = [(each.epoch or 0.0, each.seconds or 0.0, name) for each, name in row]
        first, *others = sorted(rows)
        texts.append(
            f"{percent(reached[-1])} is the highest of these that all reached: {first[2]} after epoch {first[0]:.3g} "
            f"({duration(first[1])}), "
            + ", ".join(f"{name} after epoch {epoch:.3g} ({duration(seconds)})" for epoch, seconds, name in others)
            + "."
        )
    highest = max(levels)
    alone = [name for each, name in zip(levels[highest], names, strict=True) if each.epoch is not None]
    if alone and len(alone) < len(names):
        texts.append(f"Only {listed(alone)} reached {percent(highest)}.")
    return " ".join(texts)


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return fmean(float(row[key]) for row in rows)
