"""What comes on top of training: film, checkpoints, resuming, starting, the report, the explorer's clicks."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from bench.figures import Figure, attempt
from bench.served import Fetch, page, serving
from bench.timing import arguments, report
from convscope.training.folder import read_events
from convscope.types import Event

QUICK = ("--model", "resnet8", "--set", "batch_size=128")


def main(argv: Sequence[str]) -> None:
    """Train one run, and time what is around it, each in a process of its own as a user starts it."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--data-dir", help="the photographs, as for `convscope train cifar10`; digits without")
    parser.add_argument("--epochs", type=int, default=1, help="of the training whose film and checkpoints count")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="a small network: to see that it works")
    parser.set_defaults(pairs=3)
    asked = parser.parse_args(argv)
    images = ["cifar10", "--data-dir", asked.data_dir] if asked.data_dir else ["digits"]
    training = ["train", *images, "--recipe", asked.recipe, "--quiet", *(QUICK if asked.quick else ())]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        figures = attempt("starting", lambda: starting(training, Path(folder), pairs=asked.pairs))
        convscope(*training, "--epochs", str(asked.epochs), "--out", str(run))
        figures += shares(read_events(run))
        figures += attempt("convscope report RUN", lambda: reporting(run))
        figures += attempt("clicks in the explorer", lambda: clicking(run, asked.clicks))
    facts = {"training": " ".join(["convscope", *training, "--epochs", str(asked.epochs)])}
    report([], figures, packages=["uvicorn", "starlette"], facts=facts, json=asked.json)


class Failed(Exception):
    """A process ended as it should not; the last line that it said."""


def told_by(*command: str) -> str:
    """What a Python process prints. Raises Failed."""
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Failed((ended.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return ended.stdout


def convscope(*arguments: str) -> float:
    """The seconds that a command of convscope takes."""
    began = time.perf_counter()
    told_by("-m", "convscope", *arguments)
    return time.perf_counter() - began


def starting(training: Sequence[str], folder: Path, *, pairs: int) -> list[Figure]:
    """The help, the first step after a command, and after a resumption, once the imports are done.

    The engine is the one by rule: one that is remembered takes no longer, and the first one is measured, by steps of
    which none would be the training's first.
    """
    steps, imports, resumed = list[float](), list[float](), list[float]()
    for number in range(pairs):
        run = str(folder / f"begun-{number}")
        imported, stepped = first_step(*training, "--tune", "off", "--out", run)
        imports.append(imported)
        steps.append(stepped)
        imported, stepped = first_step("resume", run, "--quiet")
        imports.append(imported)
        resumed.append(stepped - imported)
    note = f"of it {statistics.median(imports):.2f} s imports"
    return [
        Figure("convscope --help", tuple(convscope("--help") for _ in range(max(pairs, 5))), "s", wanted=0.3),
        Figure("from the command to the first training step", tuple(steps), "s", wanted=5, note=note),
        Figure("from a resumption's imports to its first step", tuple(resumed), "s", wanted=2),
    ]


def first_step(*arguments: str) -> tuple[float, float]:
    """Seconds from giving a command to the end of its imports and to its first training step, where it is killed."""
    told = told_by("-m", "bench.first_step", str(time.time()), *arguments).splitlines()[-1]
    imported, stepped = map(float, told.split())
    return imported, stepped


def shares(events: Sequence[Event]) -> list[Figure]:
    """Which share of a training its film and its checkpoints took, by its own log."""
    end = next(event for event in reversed(events) if event.kind == "train")
    figures: list[Figure] = []
    for kind, what in (("film", "frames"), ("checkpoint", "checkpoints")):
        spent = [event.data["seconds"] for event in events if event.kind == kind]
        note = (
            f"{len(spent)} {what}, {sum(spent):.2f} s of {end.time:.1f} s, the training's beginning and end included"
        )
        figures.append(Figure(f"{what} ÷ training", (sum(spent) / end.time,), wanted=0.02, note=note))
    return figures


def reporting(run: Path) -> list[Figure]:
    """The report of a finished run."""
    return [Figure("convscope report RUN", (convscope("report", str(run), "--quiet"),), "s", note="imports included")]


def clicking(run: Path, count: int) -> list[Figure]:
    """Clicks in the explorer of a run, one after the other while it draws patterns in the background.

    A click on a unit asks for its picture and its numbers, as the page does; one on a channel for its evidence.
    """
    units, channels = list[float](), list[float]()
    draw = random.Random(0)
    with serving("explore", str(run)) as (_, address), page(address) as fetch:
        network = json.loads(fetch("/api/network"))
        layers = [layer for layer in network["layers"] if layer["kind"] == "Conv2d"]
        for _ in range(count):
            layer = draw.choice(layers)
            channels_there, height, width = layer["maps"]
            name, channel = quote(layer["name"], safe=""), draw.randrange(channels_there)
            image = f"test-{draw.randrange(network['splits']['test'])}"
            cell = f"{draw.randrange(height)},{draw.randrange(width)}"
            unit = f"/api/images/{image}/units/{name}/{channel}/{cell}"
            units.append(clicked(fetch, f"{unit}.png", unit))
            channels.append(clicked(fetch, f"/api/layers/{name}/channels/{channel}"))
    figures: list[Figure] = []
    for what, seconds in (("a unit", units), ("a channel", channels)):
        slow = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
        note = f"{count} clicks"
        figures.append(
            Figure(f"a click on {what}, median", (statistics.median(seconds),), "s", wanted=0.3, note=note)
        )
        figures.append(Figure(f"a click on {what}, 95th percentile", (slow,), "s", wanted=0.3, note=note))
    return figures


def clicked(fetch: Fetch, *paths: str) -> float:
    """The seconds until all that a click asks for is there."""
    began = time.perf_counter()
    for path in paths:
        fetch(path)
    return time.perf_counter() - began
