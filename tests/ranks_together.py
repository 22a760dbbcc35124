"""What ranks come to, each in a process of its own; each writes it down."""

import copy
import dataclasses
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from convscope import rank_watch
from convscope.methods.surveys.survey import survey
from convscope.ranks import Ranks, join_ranks
from convscope.training.evaluate import evaluate
from convscope.training.loop import train
from convscope.training.recipes import get_recipe, override_recipe
from convscope.training.shared_norm import SharedNorms
from convscope.types import Recipe
from tests.patience import PATIENCE
from tests.planted import small

MOMENT = 10.0  # seconds
IMAGES = 50  # the last of four ranks' shares of a batch of 10 are not equal, nor are those of 50 images


class Exact(nn.Module):
    """A network that computes in float64, so that nothing but rounding of 1e-16 tells one rank from four."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.head = nn.Linear(4, 3)
        self.double()

    def forward(self, inputs):
        return self.head(self.layers(inputs.double()).mean((2, 3)))


def recipe() -> Recipe:
    found = override_recipe(get_recipe("adam-then-sgd"), settings=["batch_size=10", "precision=fp32"])
    phases = [dataclasses.replace(phase, epochs=None, steps=6) for phase in found.phases]
    return dataclasses.replace(found, phases=tuple(phases), eval_every=4, model="small")


def trained(ranks: Ranks):
    """The model's state after a training, and the events' figures."""
    model, (_, dataset) = Exact(), small(IMAGES)
    events = list(train(model, dataset, recipe(), device="cpu", ranks=ranks))
    figures = [
        {key: value for key, value in event.data.items() if isinstance(value, float) and key != "images_per_second"}
        for event in events
        if event.kind in ("train", "eval", "end")
    ]
    return {"weights": model.state_dict(), "figures": figures}


def gradients(ranks: Ranks):
    """What the loss of ten images says of the weights, by a model whose batch norms see all ten."""
    model, (_, dataset) = Exact(), small(IMAGES)
    share = ranks.share(10)
    inputs = next(dataset.train.images.batches([torch.arange(10)]))[share].double() / 255
    with SharedNorms(model, ranks):
        (F.cross_entropy(model(inputs), dataset.train.labels[:10][share], reduction="sum") / 10).backward()
    return {name: ranks.add_up(value.grad) for name, value in model.named_parameters()}


def evaluated(ranks: Ranks):
    network, dataset = small(1700)
    found = evaluate(network, dataset.test, device=torch.device("cpu"), ranks=ranks)
    return {"loss": found.loss, "accuracy": found.accuracy, "confusion": found.confusion}


def surveyed(ranks: Ranks):
    """Of two layers, over images of which several are alike."""
    network, dataset = small(3000)
    dataset.train.images.images[700:2900:3] = dataset.train.images.images[:2200:3]
    found = survey(network, dataset, ["0", "4"], ranks=ranks)
    return {
        layer: {name: torch.from_numpy(values) for name, values in dataclasses.asdict(each).items()}
        for layer, each in found.items()
    }


def talk(ranks: Ranks):
    """What the ranks tell each other."""
    own = torch.tensor([float(ranks.rank), 1.0])
    return {
        "gathered": ranks.gather(own),
        "sum": ranks.add_up(copy.deepcopy(own)),
        "agreed": ranks.agree(ranks.rank == ranks.count - 1, False),
        "told": ranks.from_leader(lambda: b"by the leader").decode(),
        "nothing": ranks.from_leader(lambda: b"").decode(),
    }


def everything(ranks: Ranks):
    return {
        "gradients": gradients(ranks),
        "evaluated": evaluated(ranks),
        "trained": trained(ranks),
        "surveyed": surveyed(ranks),
        "talk": talk(ranks),
    }


def interrupt(ranks: Ranks):
    """Begin a training that is interrupted at its third step."""
    model, (_, dataset) = Exact(), small(IMAGES)
    steps = iter(range(2))

    def step(*_):
        if next(steps, None) is None:
            raise KeyboardInterrupt

    model.register_forward_pre_hook(step)
    list(train(model, dataset, recipe(), device="cpu", ranks=ranks))


def threads_of_the_group() -> list[str]:
    """The names of those threads of this process that the ranks talk through; none where /proc does not tell."""
    names = []
    for name in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # others end meanwhile
            names.append(name.read_text().strip())
    return [name for name in names if "gloo" in name]


def threads_left() -> list[str]:
    """The same, once those have gone that are told for a moment after they have ended."""
    until = time.monotonic() + MOMENT
    while (left := threads_of_the_group()) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def write_everything(environment: Mapping[str, str], folder: Path) -> None:
    """Be the rank that the environment says."""
    os.environ.update(environment)
    with join_ranks() as joined:
        found = everything(joined)
    torch.save({**found, "threads": threads_left()}, folder / f"rank-{joined.rank}.pt")


def write_threads_after_interruption(environment: Mapping[str, str], folder: Path) -> None:
    """Be a rank that is interrupted while it trains."""
    os.environ.update(environment)
    rank_watch.BEAT_SECONDS = PATIENCE  # whoever is interrupted first does not end the others
    with suppress(KeyboardInterrupt), join_ranks() as joined:
        before = threads_of_the_group()
        interrupt(joined)
    torch.save((before, threads_left()), folder / f"rank-{joined.rank}.pt")
