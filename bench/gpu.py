"""What a GPU is for, checked and measured in one go: training to 94 %, patterns, top images, first steps, parity.

    python -m bench gpu --data-dir FOLDER --pack photographs.npz     # before, where the class folders are
    python -m bench gpu --data-dir photographs.npz --json gpu.json   # there

`--device cpu --quick` runs all of it in tiny sizes anywhere, to see that it works; its figures say nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from bench.figures import Figure, attempt
from bench.overheads import first_step
from bench.packed import pack, unpack
from bench.parity import parity
from bench.rates import matmul_rate, training_operations
from bench.stand_ins import noise, untrained
from bench.timing import arguments, finish, report
from convscope.data import load_dataset
from convscope.hooks import convolutions
from convscope.methods.ascents.excite import chunks
from convscope.methods.maximize import maximize
from convscope.methods.needs import channel_count
from convscope.methods.surveys.survey import survey, surveyed_layers
from convscope.models import build_model
from convscope.training.loop import train
from convscope.training.recipes import get_recipe, override_recipe
from convscope.types import Dataset, Event, Network, Recipe

GOAL, CHANNELS_STEPS = 94.0, 128
PARTS = ("rate", "training", "patterns", "top-images", "first-step", "parity")


def main(argv: Sequence[str]) -> None:
    """Measure every part, each on its own, so that one that fails is told and the others go on."""
    parser = arguments("training to 94 %, patterns, top images, first steps and parity on a GPU")
    parser.add_argument("--data-dir", help="a packed file, or as for `convscope train cifar10`; noise without")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="pack the class folders at --data-dir, and end")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recipe", default="best", help="of which the augmentation and the learning rate are taken")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, help="otherwise the recipe's")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe, such as compiled=yes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    asked = parser.parse_args(argv)
    if asked.pack:
        pack(Path(asked.data_dir), asked.pack)
        print(f"{asked.pack}: {asked.pack.stat().st_size / 1e6:.1f} MB")
        return
    figures = [figure for part in asked.parts for figure in attempt(part, partial(MEASURES[part], asked))]
    if asked.quick:  # nothing is held against figures that say nothing
        figures = [figure if "CPU" in figure.what else replace(figure, wanted=None) for figure in figures]
    facts = {"device": asked.device, "model": asked.model, "images": asked.data_dir or "noise", "quick": asked.quick}
    report([], figures, facts=facts, json=asked.json)


def rate(asked: argparse.Namespace) -> list[Figure]:
    """The device's own rate of multiplying matrices."""
    found = _matmul_rate(asked) / 1e12
    return [Figure("the device's own rate, bf16 matrices", (found,), "TFLOP/s")]


def training(asked: argparse.Namespace) -> list[Figure]:
    """Whole trainings by the recipe, a seed each, with the test images seen once, by the finished network."""
    dataset, recipe = _dataset(asked), training_recipe(asked)
    accuracies, seconds, steady = list[float](), list[float](), list[float]()
    for seed in range(asked.seeds):
        model = build_model(recipe.model, class_count=len(dataset.class_names), seed=seed)
        accuracy, whole, speed = learned(
            train(model, dataset, replace(recipe, seed=seed), device=torch.device(asked.device))
        )
        accuracies.append(accuracy)
        seconds.append(whole)
        steady.append(speed)
    operations = training_operations(build_model(recipe.model, class_count=10, seed=0), dataset.image_size)
    machine = _matmul_rate(asked)
    epochs = recipe.phases[0].epochs
    length = f"{epochs} epochs, {asked.seeds} seeds, without a film; {operations / 1e9:.2f} GFLOP an image"
    mean = f"mean {statistics.fmean(accuracies):.2f} %; one look at the test images, no mirrored copies"
    return [
        Figure("test accuracy", (statistics.fmean(accuracies),), "%", wanted=GOAL, least=True, note=mean),
        Figure("each seed's test accuracy", tuple(accuracies), "%"),
        Figure("seconds from the beginning to the last step", tuple(seconds), "s", note=length),
        Figure(
            "share of the device's rate, in the second half of training",
            tuple(speed * operations / machine for speed in steady),
            wanted=0.5,
            least=True,
            note=f"{statistics.median(steady):,.0f} images/s",
        ),
    ]


def training_recipe(asked: argparse.Namespace) -> Recipe:
    """The recipe that is trained by, without looks at the test images on the way."""
    length = {"steps": 20} if asked.quick else {"epochs": asked.epochs}
    settings = [*asked.set, *(["batch_size=32"] if asked.quick else [])]
    return override_recipe(get_recipe(asked.recipe), model=asked.model, eval_every=10**9, settings=settings, **length)


def learned(events: Iterator[Event]) -> tuple[float, float, float]:
    """Test accuracy in percent, seconds to the last step, and images a second from the middle to it."""
    told: list[Event] = list(events)
    steps = [event for event in told if event.kind == "train"]
    late = steps[len(steps) // 2 :]
    speed = statistics.median(event.data["images_per_second"] for event in late)
    return 100 * told[-1].data["test_accuracy"], steps[-1].time, speed


def patterns(asked: argparse.Namespace) -> list[Figure]:
    """Every channel of every convolution maximized, in as many steps as a report's second round or so."""
    network = _network(asked)
    steps, drawn = (2 if asked.quick else CHANNELS_STEPS), 0
    layers = convolutions(network.model)[: 1 if asked.quick else None]
    finish()
    began = time.perf_counter()
    for layer in layers:
        for part in chunks(range(channel_count(network, layer)), network.input_size):
            maximize(network, layer, part, steps=steps)
            drawn += len(part)
    finish()
    note = f"{drawn:,} channels of {len(layers)} convolutions, {steps} steps, two starts each, evidence included"
    return [Figure("patterns of all channels", (time.perf_counter() - began,), "s", wanted=60, note=note)]


def top_images(asked: argparse.Namespace) -> list[Figure]:
    """One pass over the training images that finds what excites each channel of all layers most."""
    network, dataset = _network(asked), _dataset(asked)
    layers = surveyed_layers(network)
    seconds: list[float] = []
    for _ in range(1 if asked.quick else 3):
        finish()
        began = time.perf_counter()
        survey(network, dataset, layers)
        finish()
        seconds.append(time.perf_counter() - began)
    note = f"{len(dataset.train.labels):,} images, {len(layers)} layers"
    return [Figure("top images", tuple(seconds), "s", wanted=3, note=note)]


def first_steps(asked: argparse.Namespace) -> list[Figure]:
    """From a command to its first training step, computed as it stands and compiled, on the digits."""
    model = "resnet8" if asked.quick else asked.model
    command = ["train", "digits", "--model", model, "--device", asked.device, "--quiet", "--out"]
    figures: list[Figure] = []
    for what in ("no",) if asked.quick else ("no", "yes"):

        def measure(what: str = what) -> list[Figure]:
            with tempfile.TemporaryDirectory() as folder:
                imported, stepped = first_step(*command, f"{folder}/run", "--set", f'compiled="{what}"')
            name = f"from the command to the first step, compiled: {what}"
            return [Figure(name, (stepped,), "s", note=f"of it {imported:.2f} s imports")]

        figures += attempt(f"first step, compiled: {what}", measure)
    return figures


def compared(asked: argparse.Namespace) -> list[Figure]:
    """The methods' pictures on the device against those on the CPU."""
    model = "resnet8" if asked.quick else asked.model
    return parity(model, _dataset(asked), torch.device(asked.device))


MEASURES: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "rate": rate,
    "training": training,
    "patterns": patterns,
    "top-images": top_images,
    "first-step": first_steps,
    "parity": compared,
}


def _network(asked: argparse.Namespace) -> Network:
    """The model with random weights on the device: what its weights are does not change the time."""
    network = untrained(asked.model)
    network.model.to(asked.device)
    return network


def _dataset(asked: argparse.Namespace) -> Dataset:
    if asked.data_dir is None:
        return noise(200 if asked.quick else 50_000)
    path = Path(asked.data_dir)
    return unpack(path) if path.suffix == ".npz" else load_dataset("cifar10", data_dir=path)


def _matmul_rate(asked: argparse.Namespace) -> float:
    return matmul_rate(torch.bfloat16, device=asked.device, size=256 if asked.quick else 8192)
