"""A dataset, a network and recipes so small that a whole training takes a tenth of a second."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from convscope.data import DATASETS
from convscope.durable import replace_file
from convscope.models import MODELS
from convscope.tables import Entry
from convscope.types import Dataset, Split

RECIPES = {
    "sgd": [("sgd", 0.05)],
    "adam": [("adam", 0.01)],
    "switch": [("adam", 0.01), ("sgd", 0.05)],
}
"""The optimizers of a training and their learning rates, in turn."""

EPOCHS = 4
STEPS_PER_EPOCH = 6
STEPS = EPOCHS * STEPS_PER_EPOCH


class Memory:
    """Images in memory."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.shape = tuple(images.shape)

    def batches(self, indices) -> Iterator[torch.Tensor]:
        return (self.images[index] for index in indices)


def load_planted() -> Dataset:
    """Three classes that differ in brightness, with noise."""
    generator = torch.Generator().manual_seed(0)
    splits = []
    for size in (50, 20):
        labels = torch.arange(size) % 3
        noise = torch.randint(0, 60, (size, 3, 8, 8), generator=generator)
        splits.append(Split(Memory((labels[:, None, None, None] * 90 + noise).to(torch.uint8)), labels))
    names = ("dark", "grey", "bright")
    return Dataset("planted", *splits, names, (0.45,) * 3, (0.3,) * 3, "f" * 64, "the tests")


class TinyNet(nn.Module):
    """Everything that a resumption can get wrong: batch statistics, dropout, a hidden layer of its own."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(6, classes)

    def forward(self, inputs):
        features = self.conv2(self.relu(self.bn1(self.conv1(inputs))))
        return self.fc(self.dropout(features.mean((2, 3))))


def tiny_net(*, class_count: int) -> nn.Module:
    return TinyNet(class_count)


@contextlib.contextmanager
def known() -> Generator[None]:
    """Within it the command line knows them: `convscope train planted --recipe FILE`."""
    planted = {"planted": Entry("tests.faults.tiny:load_planted", "for tests")}
    net = {"tiny": Entry("tests.faults.tiny:tiny_net", "for tests")}
    with mock.patch.dict(DATASETS, planted), mock.patch.dict(MODELS, net):
        yield


def write_recipe(folder: Path, name: str) -> Path:
    """The recipe as a file that --recipe takes."""
    phases = RECIPES[name]
    lines = [
        'model = "tiny"',
        "batch_size = 8",
        "seed = 3",
        "[augmentation]",
        "crop = 2",
        "flip = true",
        "cutout = 2",
    ]
    for optimizer, rate in phases:
        lines += ["[[phases]]", f'optimizer = "{optimizer}"', f"learning_rate = {rate}"]
        lines += [f"epochs = {EPOCHS // len(phases)}", "weight_decay = 0.001"]
    path = folder / f"{name}.toml"
    replace_file(path, ("\n".join(lines) + "\n").encode())  # another command may be reading it at this moment
    return path
