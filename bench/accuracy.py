"""Time to accuracy: how soon finished runs, or one trained now, classified how much of the test images."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.figures import Figure
from bench.timing import arguments, parse, report
from convscope.data import load_dataset
from convscope.training.evaluate import evaluate
from convscope.training.folder import read_config, read_events
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.run import open_run
from convscope.training.start import start_run
from convscope.types import Dataset, Event, Network, say_nothing

THRESHOLDS = (71.1, 86.9, 90.0, 92.0, 94.0)

WANTED = {90.0: 5 * 60, 94.0: 25 * 60}
"""Seconds within which an accuracy is wanted on two cores."""


def main(argv: Sequence[str]) -> None:
    """Read the runs' logs, or train one run whose test images are looked at once, at the end; print the times."""
    parser = arguments(__doc__ or "")
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs; without, one is trained now")
    parser.add_argument("--data-dir", help="the photographs, as for `convscope train cifar10`")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--model")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--out", type=Path, help="keep the run that is trained in this folder")
    parser.add_argument(
        "--mirrored", action="store_true", help="tell the mean answers to images and mirror images too"
    )
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS, help="accuracies in percent")
    asked = parse(parser, argv)
    with tempfile.TemporaryDirectory() as folder:
        runs = asked.runs or [train_now(asked, asked.out or Path(folder, "run"))]
        read = [(read_config(run), read_events(run)) for run in runs]
        opened = [open_run(str(run)) for run in runs] if asked.mirrored else []
        finished = [run for run in opened if run.results()]
        with_mirrors = [(run.config, mirrored(run.network(say=say_nothing), run.dataset())) for run in finished]
    figures: list[Figure] = []
    for config, events in read:
        figures += once(config, events, asked.thresholds)
        figures += on_the_way(config, events, asked.thresholds)
    figures += [
        Figure(f"{_name(config)}, mean answers to images and mirror images", (share,), "%", note=f"{share:.2f} %")
        for config, share in with_mirrors
    ]
    facts = {
        "times": "from the training's beginning to its last step, or to the evaluation, earlier evaluations included",
        "images": "; ".join(sorted({config["dataset"]["source"] for config, _ in read})),
    }
    report([], figures, facts=facts, json=asked.json)


def train_now(asked: Any, run: Path) -> Path:
    """A whole training by the recipe, without a look at the test images before its end; its folder."""
    if asked.data_dir is None:
        raise SystemExit("--data-dir, or folders of finished runs, are needed")
    recipe = override_recipe(
        get_recipe(asked.recipe),
        model=asked.model,
        epochs=asked.epochs,
        steps=asked.steps,
        seed=asked.seed,
        eval_every=10**9,
        settings=asked.set,
    )
    options = {"data_dir": asked.data_dir}
    for _ in start_run(run, load_dataset("cifar10", **options), recipe, dataset_options=options):
        pass
    return run


def once(config: Mapping[str, Any], events: Sequence[Event], thresholds: Sequence[float]) -> list[Figure]:
    """The time of the last step for every accuracy that the finished network has: the test images seen once."""
    end = next((event for event in events if event.kind == "end" and event.data["reason"] == "finished"), None)
    if end is None:
        return [Figure(_name(config), (), note="not finished")]
    reached = 100 * end.data["test_accuracy"]
    last = next(event for event in reversed(events) if event.kind == "train")
    looks = sum(event.kind == "eval" for event in events)
    looked = "at the last step" if looks == 1 else f"{looks} times before, which nothing followed from"
    note = f"{reached:.2f} % at the end, test images also looked at {looked}"
    passed = [threshold for threshold in thresholds if reached >= threshold]
    if not passed:
        return [Figure(f"{_name(config)}, whole", (last.time,), "s", note=note + ": below all thresholds")]
    best = max(passed)
    return [Figure(f"{best:g} %: {_name(config)}, whole", (last.time,), "s", wanted=WANTED.get(best), note=note)]


def on_the_way(config: Mapping[str, Any], events: Sequence[Event], thresholds: Sequence[float]) -> list[Figure]:
    """The first evaluation at or above each accuracy, where there were several: luck of the best of many is in it."""
    looks = [event for event in events if event.kind == "eval"]
    figures: list[Figure] = []
    for threshold in sorted(thresholds) if len(looks) > 1 else ():
        first = next((event for event in looks if 100 * event.data["test_accuracy"] >= threshold), None)
        what = f"{threshold:g} %: {_name(config)}, first of {len(looks)} evaluations"
        if first is None:
            best = max(event.data["test_accuracy"] for event in looks)
            figures.append(Figure(what, (), note=f"never, nor more: {100 * best:.2f} % at best"))
            break
        note = f"{100 * first.data['test_accuracy']:.2f} % in epoch {first.data['epoch']:g}"
        figures.append(Figure(what, (first.time,), "s", note=note))
    return figures


class Mirrored(nn.Module):
    """A model's mean answer to an image and to its mirror image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) for images (N, 3, H, W)."""
        return (self.model(images) + self.model(images.flip(3))) / 2


def mirrored(network: Network, dataset: Dataset) -> float:
    """Percent of the test images for which the mean answer is right: as much more as others' figures often hold."""
    both = dataclasses.replace(network, model=Mirrored(network.model))
    return 100 * evaluate(both, dataset.test, device=torch.device("cpu")).accuracy


def _name(config: Mapping[str, Any]) -> str:
    recipe = config["recipe"]
    lengths = [f"{phase[unit]} {unit}" for phase in recipe["phases"] for unit in ("epochs", "steps") if phase[unit]]
    settings = f"{recipe['model']}, batch {recipe['batch_size']}, {' + '.join(lengths)}, seed {recipe['seed']}"
    return f"{recipe['name']} ({settings})"
