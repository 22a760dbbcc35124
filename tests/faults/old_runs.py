"""Runs that older releases left, half way: they open and are gone on with; one of a newer release is refused.

python -m tests.faults.old_runs leaves one of this release.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from convscope import __version__
from convscope.data import load_dataset
from convscope.errors import CheckpointError
from convscope.training.frames import read_info, recorded_steps
from convscope.training.recipes import get_recipe, override_recipe, suit_dataset
from convscope.training.run import open_run
from convscope.training.start import start_run
from tests.faults import tiny
from tests.faults.harness import Command, Tally, complaints, whole_lines

KEPT = Path(__file__).parent / "runs"
"""One run by each release: tiny.TinyNet on the digits, Adam and then SGD."""


STOPPED = 15
"""The step, of 20."""


@tiny.known()
def old_runs(folder: Path) -> Tally:
    """Open each, read all of it, and go on with it to its end."""
    tally = Tally("runs of older releases")
    for kept in sorted(KEPT.iterdir()):
        run = folder / kept.name
        shutil.copytree(kept, run)
        tally.count(f"{kept.name} opens", opens(run))
        tally.count(f"{kept.name} goes on", goes_on(run))
        tally.count(f"{kept.name} as one of a newer release is refused", refused(run))
    return tally


def opens(run: Path) -> str:
    """What is wrong with what can be read of it."""
    said: list[str] = []
    opened = open_run(str(run))
    network = opened.network(say=said.append)
    events = opened.events()
    filmed = recorded_steps(run, [event.step for event in events if event.kind == "film"])
    return complaints(
        (not said, f"said {said}"),
        (opened.config["versions"]["convscope"] == run.name, "it was not made by that release"),
        (len(network.class_names) == 10 and network.model.conv1.weight.isfinite().all(), "no network"),
        (events[-1].data == {"reason": "interrupted"} and events[-1].step == STOPPED, "its log does not end there"),
        (any(event.kind == "eval" for event in events), "no evaluation"),
        ((read_info(run) is not None) == (run.name >= "0.3.0") == bool(filmed), "the film"),
    )


def goes_on(run: Path) -> str:
    """What is wrong with the end of it, and with what the commands then tell of it."""
    resumed = Command(["resume", str(run), "--device", "cpu", "--quiet"], run.with_suffix(".log")).wait()
    if resumed.code:
        return f"exit {resumed.code}: {resumed.said}"
    layers = Command(["layers", str(run)], run.with_suffix(".layers")).wait()
    printed = run.with_suffix(".layers.out").read_text()
    results = open_run(str(run)).results()
    begun = [line["step"] for line in whole_lines(run) if line["data"].get("resumed")]
    told = run.name == __version__ or f"convscope was {run.name}" in " ".join(resumed.said)
    return complaints(
        (told, f"that it was another release is not told: {resumed.said}"),
        (begun == [STOPPED], f"from step {begun}"),
        (results.get("steps") == 20, f"results {results}"),
        (layers.code == 0 and "conv2" in printed, f"layers: {layers}"),
    )


def refused(run: Path) -> str:
    """What is wrong with the answer to the same run as a newer release would have written it."""
    path = run / "run.json"
    config = json.loads(path.read_bytes())
    path.write_text(json.dumps({**config, "format": 99, "versions": {**config["versions"], "convscope": "9.9.9"}}))
    try:
        open_run(str(run))
    except CheckpointError as error:
        words = ("has format 99, written by convscope 9.9.9", "reads 1", "pip install --upgrade convscope")
        return complaints(*((word in str(error), f"{word!r} is not in: {error}") for word in words))
    return "it was opened"


@tiny.known()
def keep() -> None:
    """Leave a run of this release, half way and with one frame of its film, for the releases after it."""
    digits, run = load_dataset("digits"), KEPT / __version__
    with tempfile.TemporaryDirectory() as folder:
        recipe = get_recipe(str(tiny.write_recipe(Path(folder), "switch")))
    settings = ["batch_size=240", "phases.0.epochs=2", "phases.1.epochs=2"]
    recipe = suit_dataset(override_recipe(recipe, settings=settings), digits)
    options = {"data_dir": None, "sources": [], "image_size": None, "skip_bad": False, "seed": 0}
    steps = iter(range(1, 100))
    stop = {"should_stop": lambda: next(steps) == STOPPED}
    list(start_run(run, digits, recipe, dataset_options=options, device="cpu", **stop))
    (run / ".lock").unlink(missing_ok=True)
    for path in (run / "film").glob("*-*.safetensors"):
        if not path.stem.endswith("-000000000"):
            path.unlink()


if __name__ == "__main__":
    keep()
