"""A dataset, a network and recipes small enough to train in a blink."""

import pytest
import torch
from torch import nn

from convscope.types import Augmentation, Dataset, Phase, Recipe, Split


class Planted:
    """Images in memory, as small and as fast as can be."""

    def __init__(self, images):
        self.images = images
        self.shape = tuple(images.shape)

    def batches(self, indices):
        return (self.images[index] for index in indices)


def planted_dataset(count: int = 50) -> Dataset:
    """Three classes that differ in brightness, with noise: learnable in a few steps."""
    generator = torch.Generator().manual_seed(0)
    splits = []
    for size in (count, 20):
        labels = torch.arange(size) % 3
        noise = torch.randint(0, 60, (size, 3, 8, 8), generator=generator)
        splits.append(Split(Planted((labels[:, None, None, None] * 90 + noise).to(torch.uint8)), labels))
    return Dataset(
        "planted", *splits, ("dark", "grey", "bright"), (0.45, 0.45, 0.45), (0.3, 0.3, 0.3), "f" * 64, "the tests"
    )


class TinyNet(nn.Module):
    """Everything that a resumption can get wrong: batch statistics, dropout, a layer laid out channels-last."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        x = self.conv2(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.dropout(x.mean((2, 3))))


def tiny_net(seed: int = 0) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyNet().to(memory_format=torch.channels_last)


def tiny_recipe(*phases: Phase, **values) -> Recipe:
    defaults = {"batch_size": 8, "augmentation": Augmentation(crop=2, flip=True, cutout=2), "seed": 3}
    return Recipe("tiny", "for tests", "tiny", phases, **(defaults | values))


SGD = Phase("sgd", 0.05, steps=7, weight_decay=1e-3)
ADAM = Phase("adam", 0.01, steps=7)


@pytest.fixture
def dataset() -> Dataset:
    return planted_dataset()
