"""Peak resident memory of a training and of each method, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.figures import Figure, attempt
from bench.given import LAYER, given
from bench.overheads import told_by
from bench.stand_ins import noise, untrained
from bench.timing import arguments, parse, report
from convscope.data import load_dataset
from convscope.methods import METHODS
from convscope.models import build_model
from convscope.training.engine import autocast, resolve_precision
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.start import start_run
from convscope.types import Dataset

WANTED = 1.2


def main(argv: Sequence[str]) -> None:
    """Measure each in a child, and compare training's peak with what is computed of it."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--data-dir", help="the photographs, as for `convscope train cifar10`; noise without")
    parser.add_argument("--images", type=int, default=60_000, help="of noise")
    parser.add_argument("--model", default="resnet18-7x7")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--precision", default="auto")
    parser.add_argument(
        "--methods", nargs="*", default=list(METHODS), help="these methods alone; none without a name"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.set_defaults(pairs=1)
    asked = parse(parser, argv)
    if asked.child:
        print(json.dumps(train_here(asked) if asked.child == "training" else draw_here(asked.child, asked)))
        return
    figures = [
        figure
        for name in ("training", *asked.methods)
        for figure in attempt(f"{name}: peak resident", partial(peaks, name, argv, asked.pairs))
    ]
    facts = {"model": asked.model, "batch": asked.batch, "precision": asked.precision, "layer of the methods": LAYER}
    report([], figures, facts=facts, json=asked.json)


def peaks(name: str, argv: Sequence[str], times: int) -> list[Figure]:
    """The figures of training or of a method, measured so often. Raises Failed."""
    found = [measured(name, argv) for _ in range(times)]
    return training_figures(found) if name == "training" else [method_figure(name, found)]


def measured(what: str, argv: Sequence[str]) -> dict[str, float]:
    """What a child measures of itself, in bytes. Raises Failed."""
    return json.loads(told_by("-m", "bench", "memory", *argv, "--child", what).splitlines()[-1])


def training_figures(found: Sequence[dict[str, float]]) -> list[Figure]:
    """Peaks against what is computed, with the imported libraries in both, and without."""
    parts = ("data", "weights", "optimizer", "activations")
    computed = sum(found[0][part] for part in parts)
    libraries = found[0]["libraries"]
    words = " + ".join(f"{part} {found[0][part] / 1e6:.0f}" for part in parts)
    peaks = [each["peak"] for each in found]
    return [
        Figure(
            "training: peak resident",
            tuple(peak / 1e6 for peak in peaks),
            "MB",
            note=f"{found[0]['reading'] / 1e6:.0f} MB at most before it began, while the images were read",
        ),
        Figure(
            "training: peak ÷ (computed + imported libraries)",
            tuple(peak / (computed + libraries) for peak in peaks),
            wanted=WANTED,
            note=f"computed: {words} = {computed / 1e6:.0f} MB; libraries, measured: {libraries / 1e6:.0f} MB",
        ),
        Figure(
            "training: (peak - imported libraries) ÷ computed",
            tuple((peak - libraries) / computed for peak in peaks),
            wanted=WANTED,
        ),
    ]


def method_figure(name: str, found: Sequence[dict[str, float]]) -> Figure:
    """A method's peak, with what was there before it was called."""
    note = f"of it {found[0]['before'] / 1e6:.0f} MB libraries, network and images before the call"
    return Figure(f"{name}: peak resident", tuple(each["peak"] / 1e6 for each in found), "MB", note=note)


def train_here(asked: argparse.Namespace) -> dict[str, float]:
    """Train as a user does, film and checkpoints included; the peak, and what is computed of it."""
    warm_up()
    libraries = psutil.Process().memory_info().rss
    recipe = override_recipe(
        get_recipe("sgd"),
        model=asked.model,
        steps=asked.steps,
        precision=asked.precision,
        settings=[f"batch_size={asked.batch}"],
    )
    dataset = _images(asked)
    reading = peak_bytes()
    with tempfile.TemporaryDirectory() as folder:
        for _ in start_run(Path(folder, "run"), dataset, recipe, dataset_options={}):
            pass
    peak = peak_bytes()
    found = computed_bytes(dataset, asked.model, asked.batch, asked.precision)
    return {"peak": peak, "reading": reading, "libraries": libraries, **found}


def warm_up() -> None:
    """Import what a training imports, and compute a step of a tiny network, so that libraries are loaded whole."""
    model = build_model("resnet8", class_count=10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    F.cross_entropy(model(torch.zeros(2, 3, 32, 32)), torch.zeros(2, dtype=torch.int64)).backward()
    optimizer.step()


def computed_bytes(dataset: Dataset, model: str, batch: int, precision: str) -> dict[str, float]:
    """Bytes of images and labels, of the weights, of SGD's momentum, and of what one batch keeps for its gradient."""
    halves = (dataset.train, dataset.test)
    data = sum(math.prod(half.images.shape) + 8 * len(half.labels) for half in halves)
    network = build_model(model, class_count=len(dataset.class_names), seed=0)
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    momentum = sum(value.numel() * value.element_size() for value in network.parameters())
    network.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    known = {value.data_ptr() for value in network.state_dict().values()}
    kept: dict[int, torch.UntypedStorage] = {}  # the storages themselves, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    images = torch.rand(batch, 3, *dataset.image_size).contiguous(memory_format=torch.channels_last)
    settled = resolve_precision(precision, torch.device("cpu"))  # pyright: ignore[reportArgumentType] - one of the three
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        autocast(torch.device("cpu"), settled),
    ):
        loss = F.cross_entropy(network(images), torch.zeros(batch, dtype=torch.int64))
    del loss
    return {
        "data": data,
        "weights": weights,
        "optimizer": momentum,
        "activations": sum(each.nbytes() for each in kept.values()),
    }


def draw_here(name: str, asked: argparse.Namespace) -> dict[str, float]:
    """Draw a method's picture as its command does by default; the peak, and what was there before."""
    network, dataset = untrained(asked.model), _images(asked)
    method = METHODS[name].load()
    needs = given(method, dataset)
    before = psutil.Process().memory_info().rss
    method(network, **needs)
    return {"peak": peak_bytes(), "before": before}


def peak_bytes() -> float:
    """The most memory that this process has held at once.

    From Linux's own record where there is one: what the C library tells counts the parent's in.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return 1024.0 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def _images(asked: argparse.Namespace) -> Dataset:
    return load_dataset("cifar10", data_dir=asked.data_dir) if asked.data_dir else noise(asked.images)
