"""Others' ways of training a network on the same photographs: the usual loop, timm's, Keras's."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Indexed

from convscope.models import build_model
from convscope.types import Dataset

MARK_STEPS = 10
"""Steps between two marks; ours looks at its losses as often."""

RATE, MOMENTUM, CROP, WORKERS = 0.02, 0.9, 4, 2

Mark = Callable[[int, float], None]
"""mark(step, loss): so many steps are done, and this was the mean training loss since the last mark."""


@dataclass(frozen=True)
class Task:
    """What all are to do: SGD with momentum on crops and flips, from the same weights."""

    dataset: Dataset
    model: str
    batch: int
    steps: int
    seed: int = 0

    def network(self) -> nn.Module:
        """The network with its weights of the beginning."""
        return build_model(self.model, class_count=len(self.dataset.class_names), seed=self.seed)


Contender = Callable[[Task, Mark], str]
"""Does the task, marking its way; says how it computed."""


class Photographs(Indexed[Any]):
    """The training images as torchvision's CIFAR10 keeps and gives them: one array, and from it a PIL image each."""

    def __init__(self, dataset: Dataset, transform: Callable[[Any], Any]) -> None:
        count = len(dataset.train.labels)
        pixels = next(iter(dataset.train.images.batches([torch.arange(count)])))  # (N, 3, H, W)
        self.data: np.ndarray = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets: list[int] = dataset.train.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        """How many there are."""
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """An image, changed, and its label."""
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def usual_loop(task: Task, mark: Mark) -> str:
    """The loop of PyTorch's own tutorial with torchvision's transforms and a DataLoader: fp32, two workers."""
    torch.manual_seed(task.seed)
    model = task.network().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    criterion = nn.CrossEntropyLoss()
    marks = Marks(mark)
    with closing(endless(usual_loader(task))) as batches:
        for images, labels in itertools.islice(batches, task.steps):
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            marks.add(loss.item())
    return f"fp32, {WORKERS} workers"


def usual_loader(task: Task) -> DataLoader[Any]:
    """Its batches: normalized crops and flips (B, 3, H, W) float32 and labels (B,)."""
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.RandomCrop(task.dataset.image_size, padding=CROP),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(task.dataset.mean, task.dataset.std),
        ]
    )
    photographs = Photographs(task.dataset, change)
    return DataLoader(photographs, task.batch, shuffle=True, num_workers=WORKERS, drop_last=True)


def timm_loop(task: Task, mark: Mark, *, tuned: bool = False) -> str:
    """The steps of timm's train script with its loader, optimizer and meters; with `tuned`, its fast flags too.

    These are --amp --amp-dtype bfloat16 --channels-last. Its default crops are for ImageNet, so that torchvision's
    stand in their place.
    """
    from timm.data.loader import create_loader
    from timm.data.transforms import ToNumpy
    from timm.optim import create_optimizer_v2
    from timm.utils import AverageMeter
    from torchvision import transforms

    torch.manual_seed(task.seed)
    logger = logging.getLogger("timm's loop")
    size = task.dataset.image_size
    photographs = Photographs(task.dataset, lambda image: image)
    loader: Any = create_loader(
        photographs,
        (3, *size),
        task.batch,
        is_training=True,
        mean=task.dataset.mean,
        std=task.dataset.std,
        num_workers=WORKERS,
        device=torch.device("cpu"),
        persistent_workers=False,
    )
    photographs.transform = transforms.Compose(
        [transforms.RandomCrop(size, padding=CROP), transforms.RandomHorizontalFlip(), ToNumpy()]
    )
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = task.network().to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
    optimizer = create_optimizer_v2(model, opt="momentum", lr=RATE, momentum=MOMENTUM, weight_decay=0.0)
    losses, durations = AverageMeter(), AverageMeter()
    marks = Marks(mark)
    began = time.time()
    with closing(endless(loader)) as batches:
        for number, (images, labels) in enumerate(itertools.islice(batches, task.steps)):
            images = images.contiguous(memory_format=layout)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=tuned):
                loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(images))
            durations.update(time.time() - began)
            began = time.time()
            if number % 50 == 0:
                logger.info("%s: loss %s, %s s", number, losses.avg, durations.avg)
            marks.add(losses.val)
    return f"{'bf16, channels-last' if tuned else 'fp32'}, {WORKERS} workers"


def keras_loop(task: Task, mark: Mark) -> str:
    """Keras's `fit` on its torch backend, given the usual loader, as its guide to PyTorch users has it."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    from bench.keras_twin import keras_twin

    torch.manual_seed(task.seed)
    model = keras_twin(task.network(), task.dataset.image_size)
    model.compile(
        optimizer=keras.optimizers.SGD(RATE, momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    marks = Marks(mark)

    class Tell(keras.callbacks.Callback):
        """Turns the means since the epoch's beginning, which Keras tells, into losses of single steps."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.total = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            total = float(logs["loss"]) * (batch + 1)
            marks.add(total - self.total)
            self.total = total
            if marks.step == task.steps:
                self.model.stop_training = True

    loader = usual_loader(task)
    length = min(task.steps, len(loader))
    model.fit(
        loader,
        epochs=-(-task.steps // length),
        steps_per_epoch=length,
        verbose=0,
        shuffle=False,  # the loader does
        callbacks=[Tell()],
    )
    return f"fp32, channels first, {WORKERS} workers"


class Marks:
    """Counts steps and tells the mean loss of every few."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._losses: list[float] = []
        self.step = 0

    def add(self, loss: float) -> None:
        """One more step, with its loss."""
        self.step += 1
        self._losses.append(loss)
        if self.step % MARK_STEPS == 0:
            self._mark(self.step, sum(self._losses) / len(self._losses))
            self._losses = []


def endless(loader: Any) -> Iterator[Any]:
    """Its batches, epoch after epoch."""
    while True:
        yield from loader
