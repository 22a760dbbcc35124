"""A training that is filmed and shown live in a real Chromium, against the same training left alone."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.stand_ins import noise
from bench.timing import arguments, compare, parse, report
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.run import Run, open_run
from convscope.training.start import start_run
from convscope.types import Dataset, Recipe
from convscope.web.dashboard.watch import start_beside

WANTED = 1 / 1.02
"""The least speedup: filmed and watched takes at most 1.02 of the time."""

BROWSER = "it draws without a GPU here, on the training's own cores"


def main(argv: Sequence[str]) -> None:
    """Time both on the same images, recipe and threads; the page and its server are halted while the other trains."""
    parser = arguments("training filmed and watched ÷ training left alone")
    parser.add_argument(
        "--steps", type=int, default=300, help="how long each training is; 600 are minutes on two cores"
    )
    parser.add_argument("--model", default="resnet18-7x7")
    parser.add_argument("--precision", default="auto", help="fp32, bf16 or auto")
    asked = parse(parser, argv)
    recipe = override_recipe(get_recipe("sgd"), model=asked.model, steps=asked.steps, precision=asked.precision)
    dataset = noise(recipe.batch_size * 100)
    number = count()
    with tempfile.TemporaryDirectory() as folder:
        watched, alone = Path(folder, "watched"), Path(folder, "alone")
        watched.mkdir()
        train(watched / "first", dataset, override_recipe(recipe, steps=5), film=True)  # so that the page has a run
        spent: dict[str, list[float]] = {"server": [], "browser": [], "film": []}
        with page(watched) as others:

            def ours() -> None:
                path = watched / f"run-{next(number)}"
                others.let("resume")
                before, began = others.cpu_seconds(), time.monotonic()
                train(path, dataset, recipe, film=True)
                minutes = (time.monotonic() - began) / 60
                for name, seconds in others.cpu_seconds().items():
                    spent[name].append((seconds - before[name]) / minutes)
                spent["film"].append(film_share(open_run(str(path))))

            def peer() -> None:
                others.let("suspend")
                train(alone / f"run-{next(number)}", dataset, recipe, film=False)

            what = "training filmed and watched, against left alone"
            timed = compare(ours, peer, what=what, pairs=asked.pairs, warm=False, wanted=WANTED)
    facts = {"model": asked.model, "steps": asked.steps, "batch": recipe.batch_size, "precision": asked.precision}
    figures = [
        Figure("processor time of the server, a minute of training", tuple(spent["server"]), "s"),
        Figure("processor time of the browser, a minute of training", tuple(spent["browser"]), "s", note=BROWSER),
        Figure("the film's share of the training's time, by its own measure", tuple(spent["film"])),
    ]
    report([timed], figures, facts=facts, packages=("plotly", "starlette"), json=asked.json)


def film_share(run: Run) -> float:
    """The seconds that its film says it took, as a share of the training's."""
    events = run.events()
    return sum(event.data["seconds"] for event in events if event.kind == "film") / events[-1].time


class Others:
    """The processes beside the training: the dashboard's server and the browser."""

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._processes = list(processes)

    def let(self, word: str) -> None:
        """All of them resume, suspend or terminate."""
        for process in self._processes:
            if process.is_running():
                getattr(process, word)()

    def cpu_seconds(self) -> dict[str, float]:
        """What the server and all processes of the browser have had of the processors so far; not who drives it."""
        found = {"server": 0.0, "browser": 0.0}
        for process in self._processes:
            if not process.is_running():
                continue
            name = "server" if "convscope" in process.cmdline() else "browser" if "chrom" in process.name() else ""
            times = process.cpu_times()
            if name:
                found[name] += times.user + times.system
        return found


def train(path: Path, dataset: Dataset, recipe: Recipe, *, film: bool) -> None:
    """One whole training in a folder of its own."""
    for _ in start_run(path, dataset, recipe, dataset_options={}, film=film):
        pass


@contextmanager
def page(folder: Path) -> Generator[Others]:
    """The dashboard of the folder in a browser; gives the processes of both."""
    from playwright.sync_api import sync_playwright

    before = set(psutil.Process().children(recursive=True))
    address = start_beside(folder, open_browser=False, say=print)
    if address is None:
        raise SystemExit("no dashboard, so nothing to measure")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        shown = browser.new_page(viewport={"width": 1280, "height": 900})
        shown.goto(address)
        shown.wait_for_selector("svg")
        others = Others(set(psutil.Process().children(recursive=True)) - before)
        try:
            yield others
        finally:
            others.let("resume")
            browser.close()
            others.let("terminate")
