"""A training that is filmed and shown live in a real Chromium, against the same training left alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
import torch

from bench.timing import arguments, compare, report
from bench.top_images import noise
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.run import start_run
from convscope.types import Dataset, Recipe
from convscope.web.dashboard.watch import start_beside

TEST_IMAGES = 100


def main(argv: Sequence[str]) -> None:
    """Time both on the same images, recipe and threads; the page and its server are halted while the other trains."""
    parser = arguments("training filmed and watched ÷ training left alone")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--model", default="resnet18-7x7")
    parser.add_argument("--precision", default="auto", help="fp32, bf16 or auto")
    asked = parser.parse_args(argv)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    recipe = override_recipe(get_recipe("sgd"), model=asked.model, steps=asked.steps, precision=asked.precision)
    dataset = noise(recipe.batch_size * 100)
    number = count()
    with tempfile.TemporaryDirectory() as folder:
        watched, alone = Path(folder, "watched"), Path(folder, "alone")
        watched.mkdir()
        train(watched / "first", dataset, override_recipe(recipe, steps=5), film=True)  # so that the page has a run
        with page(watched) as (show, halt):

            def ours() -> None:
                show()
                train(watched / f"run-{next(number)}", dataset, recipe, film=True)

            def peer() -> None:
                halt()
                train(alone / f"run-{next(number)}", dataset, recipe, film=False)

            timed = compare(
                ours, peer, what="training filmed and watched, against left alone", pairs=asked.pairs, warm=False
            )
    facts = {"model": asked.model, "steps": asked.steps, "batch": recipe.batch_size, "precision": asked.precision}
    report([timed], facts=facts, packages=("plotly", "starlette"), json=asked.json)


def train(path: Path, dataset: Dataset, recipe: Recipe, *, film: bool) -> None:
    """One whole training in a folder of its own."""
    for _ in start_run(path, dataset, recipe, dataset_options={}, film=film):
        pass


@contextmanager
def page(folder: Path) -> Generator[tuple[Callable[[], None], Callable[[], None]]]:
    """The dashboard of the folder in a browser; gives what lets both run, and what halts them."""
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
        others = set(psutil.Process().children(recursive=True)) - before

        def let(word: str) -> None:
            for process in others:
                if process.is_running():
                    getattr(process, word)()

        try:
            yield lambda: let("resume"), lambda: let("suspend")
        finally:
            let("resume")
            browser.close()
            let("terminate")
