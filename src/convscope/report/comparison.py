"""The comparison: two or more runs held against each other in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from convscope.durable import replace_file
from convscope.errors import CheckpointError
from convscope.report import comparison_charts as charts
from convscope.report import comparison_curves as curves
from convscope.report.charts import THEME
from convscope.report.comparison_insides import Side, likeness, partners
from convscope.report.comparison_words import costs_said, curves_said, seeds_said
from convscope.report.contenders import (
    Contender,
    Trained,
    find_contenders,
    same_start,
    setting_rows,
    share_test_images,
)
from convscope.report.page import HERE, Album, environment, percent
from convscope.report.results import predict, wilson_interval
from convscope.report.standings import Difference, Standing, difference_of, reaches, standing_of
from convscope.report.verdict import answer
from convscope.training.engine import place, select_device
from convscope.training.run import Run
from convscope.types import Dataset, Network, Progress, Say, no_progress, say_nothing

LOOKED_INTO = 3  # contenders beside the first whose insides are compared
STEPS = 5  # of progress


def write_comparison(
    target: Path,
    runs: Sequence[Run],
    dataset: Dataset | None,
    *,
    command: str = "",
    say: Say = say_nothing,
    progress: Progress = no_progress,
) -> str:
    """Write the page of two or more runs to `target`; returns its answer in words.

    Runs that differ in nothing but their seed are shown as one, with the spread of their seeds. `dataset` is what all
    of them were trained on; None where they differ in it, or where it is gone: what needs its images is then left
    out. So are the insides of a network that has no whole checkpoint, which is named through `say`.
    """
    progress("comparison", 0, STEPS)
    contenders = find_contenders(runs)
    standings = [standing_of(contender) for contender in contenders]
    album = Album(None, {"Command": command} if command else {})
    members = [member for contender in contenders for member in contender.members]
    alike = share_test_images(contenders)
    images = members[0].run.config["dataset"]["test_images"]

    networks: dict[Path, Network] = {}
    if dataset is not None and alike:
        networks = _load(members, say)
    right = {
        contender.name: {
            member.seed: _right(networks[member.run.path], dataset)
            for member in contender.members
            if member.run.path in networks
        }
        for contender in contenders
        if dataset is not None and any(member.run.path in networks for member in contender.members)
    }
    progress("comparison", 1, STEPS)
    labels = dataset.test.labels.numpy() if dataset is not None else np.zeros(0, dtype=np.int64)
    names = dataset.class_names if dataset is not None else ()
    found = {
        (first, other): difference_of(right[first], right[other], labels, len(names))
        for first, other in combinations(right, 2)
    }
    differences = {
        other: difference_of(right[other], right[contenders[0].name], labels, len(names))
        for other in list(right)[1 : 1 + LOOKED_INTO]
        if contenders[0].name in right
    }
    sentences = answer(contenders, standings, {pair: float(each.chance[-1]) for pair, each in found.items()})

    places = {contender.name: number for number, contender in enumerate(contenders)}
    figures: dict[str, Any] = {}
    if any(event.kind in ("train", "eval") for member in members for event in member.events):
        epochs = len({_steps_per_epoch(member) for member in members}) == 1
        figures["step"] = _curves(contenders, "step", album, epochs=epochs)
        if not epochs:
            figures["epoch"] = _curves(contenders, "epoch", album)
        figures["time"] = _curves(contenders, "time", album)
    levels = reaches(contenders) if alike else {}
    if levels:
        figures["costs"] = album.chart("costs", curves.accuracy_costs(contenders), "What each accuracy took")
    if alike and any(standing.values("test_accuracy") for standing in standings):
        figures["seeds"] = album.chart("seeds", charts.seed_dots(standings, images), "Final test accuracies")
    if differences:
        chart = charts.class_differences(differences, contenders[0].name, names, places)
        figures["classes"] = album.chart("classes", chart, "Differences of test accuracy by class")
    progress("comparison", 2, STEPS)

    insides = _insides(contenders, networks, dataset, album, progress) if dataset is not None else None
    differing, shared = setting_rows(contenders)
    colours = [curves.look_of(number)["color"] for number in range(len(contenders))]
    jinja = environment()
    jinja.filters["signed"] = _signed
    page = jinja.get_template("comparison.html.j2").render(
        style=Markup(
            "\n".join((HERE / "assets" / f"{name}.css").read_text("utf-8") for name in ("report", "comparison"))
        ),  # our own files
        contenders=contenders,
        standings=standings,
        answer=sentences,
        intervals=[_interval(*each) for each in zip(standings, contenders, strict=True)],
        images=images,
        alike=alike,
        start=same_start(contenders),
        seeds=max(len(contender.members) for contender in contenders),
        differing=differing,
        shared=shared,
        figures=figures,
        levels=levels,
        said={
            "seeds": seeds_said(standings),
            "curves": curves_said(contenders),
            "costs": costs_said(levels, [contender.name for contender in contenders]) if levels else "",
        },
        differences=differences,
        clear=_clear_classes(differences, names),
        class_names=names,
        grey=dataset is not None and len(set(dataset.mean)) == 1 and len(set(dataset.std)) == 1,
        insides=insides,
        left_out=[contender.name for contender in contenders if contender.name not in right],
        command=command,
        colours=[THEME.get(colour, colour) for colour in colours],
        as_percent=percent,
        as_loss="{:.3f}".format,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, page.encode())
    progress("comparison", STEPS, STEPS)
    return " ".join(sentences)


def _load(members: Sequence[Trained], say: Say) -> dict[Path, Network]:
    """The networks that have a whole checkpoint, by their run's folder."""
    networks: dict[Path, Network] = {}
    for member in members:
        try:
            network = member.run.network(say=say)
        except CheckpointError as error:
            say(str(error))
            continue
        place(network.model, select_device("auto"))
        networks[member.run.path] = network
    return networks


def _right(network: Network, dataset: Dataset) -> NDArray[np.float64]:
    """1 for each test image that the network classifies correctly, else 0: (N,)."""
    return (predict(network, dataset).classes == dataset.test.labels.numpy()).astype(np.float64)


def _steps_per_epoch(member: Trained) -> int | None:
    start = next((event for event in member.events if event.kind == "start"), None)
    return start.data["steps_per_epoch"] if start else None


def _curves(
    contenders: Sequence[Contender], axis: curves.Axis, album: Album, *, epochs: bool = False
) -> dict[str, Any]:
    return album.chart(
        f"curves-{axis}", curves.overlaid(contenders, axis, epochs=epochs), f"Accuracy and loss by {axis}"
    )


def _interval(standing: Standing, contender: Contender) -> tuple[float, float] | None:
    """Of a single seed the 95 % interval of its test accuracy; of several their lowest and highest."""
    values = standing.values("test_accuracy")
    if len(values) == 1:
        images = contender.members[0].run.config["dataset"]["test_images"]
        return wilson_interval(round(values[0] * images), images)
    return (min(values), max(values)) if values else None


def _clear_classes(
    differences: Mapping[str, Difference], class_names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """For each contender the classes in which it clearly differs from the first, the largest difference first."""
    return {
        name: sorted(
            (
                {"name": class_name, "points": float(points)}
                for class_name, points, clear in zip(class_names, each.points[:-1], each.clear[:-1], strict=True)
                if clear
            ),
            key=lambda row: -abs(row["points"]),
        )
        for name, each in differences.items()
    }


def _insides(
    contenders: Sequence[Contender],
    networks: Mapping[Path, Network],
    dataset: Dataset,
    album: Album,
    progress: Progress,
) -> dict[str, Any] | None:
    """What the first contender's network and the others' have in common; None where there are not two."""
    first = [member for member in contenders[0].members if member.run.path in networks]
    if not first:
        return None
    reference = Side(contenders[0].name, networks[first[0].run.path], 0)
    others: list[Side] = []
    for number, contender in enumerate(contenders[1 : 1 + LOOKED_INTO], start=1):
        known = [member for member in contender.members if member.run.path in networks]
        known.sort(key=lambda member: member.seed != first[0].seed)  # the same seed first
        if known:
            others.append(Side(contender.name, networks[known[0].run.path], number))
    twin = Side(f"{reference.name}, seed {first[1].seed}", networks[first[1].run.path], None) if first[1:] else None
    if not others and not twin:
        return None
    alike = likeness(reference, others, twin, dataset, album, progress=progress)
    progress("comparison", 3, STEPS)
    matched = [
        {"name": other.name, "layers": partners(reference, other, dataset, album, progress=progress)}
        for other in others or [twin]
        if other is not None
    ]
    return {"reference": reference.name, "seed": first[0].seed, "others": others, "alike": alike, "matched": matched}


def _signed(share: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> _signed(-0.0123)
    '−1.2'
    """
    return f"{100 * share:+.1f}".replace("-", "−")
