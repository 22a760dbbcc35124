"""Training throughput at the same network, batch and augmentation: ours, the usual loop, timm's and Keras's."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from bench.figures import Figure
from bench.peers import CROP, MARK_STEPS, MOMENTUM, RATE, Contender, Mark, Task, keras_loop, timm_loop, usual_loop
from bench.rates import matmul_rate, training_operations
from bench.stand_ins import noise
from bench.timing import Comparison, arguments, parse, report
from convscope.data import load_dataset
from convscope.training.folder import read_config
from convscope.training.recipes import get_recipe
from convscope.training.start import start_run
from convscope.training.tune import engine_from_mapping
from convscope.types import Augmentation, Phase

OURS, OURS_FP32, USUAL = "ours", "ours, fp32", "the usual loop"

LENGTH = 10_000
"""Steps of the training of which the first are timed: one for which the best engine is measured, and remembered."""

WANTED = {"resnet18-7x7": (2.5, 0.6), "resnet18": (2.0, 0.8)}
"""For a model the least speedup over the usual loop, and the least share of the machine's own rate."""


def main(argv: Sequence[str]) -> None:
    """Let each train by turns, and print images a second, their ratios, and the losses that they reached."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--data-dir", help="the photographs, as for `convscope train cifar10`; noise without")
    parser.add_argument("--model", default="resnet18-7x7")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100, help=f"that are timed, after {MARK_STEPS} that are not")
    parser.add_argument("--tune", choices=("auto", "off"), default="auto", help="how ours finds its engine")
    parser.add_argument("--only", nargs="+", help="these alone, such as ours timm")
    parser.add_argument("--matrix", type=int, default=4096, help="side of the matrices for the machine's own rate")
    parser.set_defaults(pairs=3)
    asked = parse(parser, argv)
    dataset = (
        load_dataset("cifar10", data_dir=asked.data_dir)
        if asked.data_dir
        else noise((MARK_STEPS + asked.steps) * asked.batch)
    )
    task = Task(dataset, asked.model, asked.batch, MARK_STEPS + asked.steps)
    contenders = {**CONTENDERS, OURS: partial(ours, tune=asked.tune)}
    chosen = {name: each for name, each in contenders.items() if not asked.only or name in asked.only}
    runs, missing = race(chosen, task, rounds=asked.pairs)
    figures = [*throughputs(runs, task), *losses(runs), *shares(runs, task, size=asked.matrix), *missing]
    facts = {
        "model": asked.model,
        "images": dataset.name,
        "batch": asked.batch,
        "timed steps": asked.steps,
        "augmentation": f"crops of up to {CROP} pixels, flips",
        "optimizer": f"SGD {RATE}, momentum {MOMENTUM}",
        "ours": "a run folder with log and checkpoints, without film",
    }
    report(comparisons(runs, task), figures, packages=["torchvision", "timm", "keras"], facts=facts, json=asked.json)


def ours(task: Task, mark: Mark, *, precision: str = "auto", tune: str = "auto") -> str:
    """The beginning of a long training as the command runs it, with log and checkpoints but without a film."""
    recipe = replace(
        get_recipe("fast"),  # which leaves to the machine how it is computed
        name="bench",
        model=task.model,
        phases=(Phase("sgd", RATE, steps=LENGTH, momentum=MOMENTUM),),
        batch_size=task.batch,
        augmentation=Augmentation(crop=CROP, flip=True),
        label_smoothing=0.0,
        seed=task.seed,
        precision=precision,  # pyright: ignore[reportArgumentType] - one of the three
        eval_every=LENGTH,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        events = start_run(run, task.dataset, recipe, dataset_options={}, film=False, tune=tune)
        with closing(events):  # pyright: ignore[reportArgumentType] - a generator
            for event in events:
                if event.kind == "train":
                    mark(event.step, event.data["loss"])
                    if event.step >= task.steps:
                        break
        config = read_config(run)
    return str(engine_from_mapping(config["engine"]))


CONTENDERS: Mapping[str, Contender] = {
    OURS: ours,
    OURS_FP32: partial(ours, precision="fp32", tune="off"),
    USUAL: usual_loop,
    "timm": timm_loop,
    "timm, bf16 and channels-last": partial(timm_loop, tuned=True),
    "keras": keras_loop,
}


@dataclass(frozen=True)
class Trained:
    """One training, timed."""

    seconds: float  # after the first mark
    images: int
    loss: float  # the mean over the second half
    how: str  # it computed


def race(
    contenders: Mapping[str, Contender], task: Task, *, rounds: int
) -> tuple[dict[str, list[Trained]], list[Figure]]:
    """Every contender once a round, each round beginning with another one and having a seed of its own.

    One that is not installed is left out, and stands among the figures.
    """
    runs: dict[str, list[Trained]] = {name: [] for name in contenders}
    missing: list[Figure] = []
    for number in range(rounds):
        names = list(runs)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            try:
                runs[name].append(timed(contenders[name], replace(task, seed=number)))
            except ImportError as error:
                del runs[name]
                missing.append(Figure(f"{task.model}, {name}", (), note=f"{error}; pip install {name.split(',')[0]}"))
    return runs, missing


def timed(contender: Contender, task: Task) -> Trained:
    """Train, and measure from the first mark to the last."""
    gc.collect()
    marks: list[tuple[int, float, float]] = []
    how = contender(task, lambda step, loss: marks.append((step, time.perf_counter(), loss)))
    (first, began, _), (last, ended, _) = marks[0], marks[-1]
    late = [loss for step, _, loss in marks if step > (first + last) / 2]
    return Trained(ended - began, (last - first) * task.batch, statistics.fmean(late), how)


def comparisons(runs: Mapping[str, Sequence[Trained]], task: Task) -> list[Comparison]:
    """Ours against each peer, round by round, in seconds for 1,000 images."""
    found: list[Comparison] = []
    for mine in (OURS, OURS_FP32):
        for name in runs:
            if mine in runs and not name.startswith(OURS):
                wanted = WANTED[task.model][0] if mine == OURS and name == USUAL and task.model in WANTED else None
                ours, peer = (tuple(1000 * each.seconds / each.images for each in runs[who]) for who in (mine, name))
                found.append(
                    Comparison(f"{task.model}, 1,000 images trained on, {mine}, against {name}", ours, peer, wanted)
                )
    return found


def throughputs(runs: Mapping[str, Sequence[Trained]], task: Task) -> list[Figure]:
    """Images a second of each."""
    return [
        Figure(
            f"{task.model}, {name}",
            tuple(each.images / each.seconds for each in trained),
            "images/s",
            note=trained[0].how,
        )
        for name, trained in runs.items()
    ]


def losses(runs: Mapping[str, Sequence[Trained]]) -> list[Figure]:
    """That they learn the same: how far each one's training loss is from that of ours in fp32, or of the first."""
    yardstick = next((name for name in (OURS_FP32, OURS, *runs) if name in runs), None)
    if yardstick is None:
        return []
    base = statistics.fmean(each.loss for each in runs[yardstick])
    return [
        Figure(
            f"training loss of {name} over the second half of the timed steps",
            tuple(each.loss for each in trained),
            note=f"mean {statistics.fmean(each.loss for each in trained) - base:+.3f} from {yardstick}'s",
        )
        for name, trained in runs.items()
    ]


def shares(runs: Mapping[str, Sequence[Trained]], task: Task, *, size: int) -> list[Figure]:
    """What share of the machine's own rate of multiplying matrices ours reaches."""
    found: list[Figure] = []
    operations = training_operations(task.network(), task.dataset.image_size)
    for name in (OURS, OURS_FP32):
        if name in runs:
            precision = "bf16" if "bf16" in runs[name][0].how else "fp32"
            rate = matmul_rate(torch.bfloat16 if precision == "bf16" else torch.float32, size=size)
            reached = tuple(operations * each.images / each.seconds / rate for each in runs[name])
            wanted = WANTED[task.model][1] if name == OURS and task.model in WANTED else None
            note = f"{operations / 1e9:.2f} GFLOP an image, {rate / 1e9:.0f} GFLOP/s multiplying matrices of {size}²"
            found.append(
                Figure(
                    f"{task.model}, {name}: share of the machine's {precision} rate", reached, "", wanted, True, note
                )
            )
    return found
