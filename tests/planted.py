"""A small network with its dataset, and the film of one, drawn at random: what several houses' tests look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from convscope.training.frames import FilmInfo, Frame, weights_path, write_frame, write_info
from convscope.types import Dataset, Event, Network, Split

STEPS = [0, 1, 5, 20, 40]
KEPT = [0, 5, 40]  # the steps of which all weights are kept


class Memory:
    """Images held in memory."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.images.shape)

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        return (self.images[part] for part in indices)


def small(count: int = 300, *, class_names: tuple[str, ...] = ("a", "b", "c")) -> tuple[Network, Dataset]:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 12, 12), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, len(class_names), (count,), generator=random)
    split = Split(Memory(images), labels)
    dataset = Dataset("noise", split, split, class_names, (0.5, 0.4, 0.3), (0.2,) * 3, "f00d", "drawn at random")
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(), nn.Conv2d(8, 6, 3), nn.ReLU()
    )
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, len(class_names))])
    model[-1].weight.data *= 20
    return Network(model, dataset.mean, dataset.std, (12, 12), class_names, "small", "c0ffee"), dataset


def planted_filters() -> list[np.ndarray]:
    """Filters that grow from frame to frame: four of one colour each."""
    base = np.random.default_rng(0).uniform(-1, 1, (4, 3, 1, 1)) * np.ones((4, 3, 2, 2))
    return [(base * (number + 1) / len(STEPS)).astype(np.float16) for number in range(len(STEPS))]


def plant_film(run: Path) -> Path:
    """A run folder with nothing in it but a film of a small network, and its log."""
    images = np.zeros((2, 3, 12, 12), np.uint8)
    write_info(run, FilmInfo("0", ["0"], images, [4, 9], [0, 1]))
    network, _ = small()
    events = [Event("start", 0, 0.0, {"resumed": False, "steps_per_epoch": 10})]
    for index, optimizer in enumerate(("adam", "sgd")):
        phase = {"index": index, "optimizer": optimizer, "learning_rate": 0.1, "schedule": "constant"}
        span = {"first_step": 20 * index, "last_step": 20 * index + 20, "epoch": 2.0 * index}
        events.append(Event("phase", 20 * index, 2.0 * index, {**phase, **span}))
    for number, (step, filters) in enumerate(zip(STEPS, planted_filters(), strict=True)):
        maps = np.zeros((2, 4, 4, 4), np.float16)
        size = write_frame(run, Frame(step, filters, {"0": maps}, np.zeros((2, 3), np.float16), []))
        if step in KEPT:
            network.model[0].weight.data.mul_(1 + number)
            halves = {name: value.half() for name, value in network.model.state_dict().items() if value.ndim > 1}
            safetensors.torch.save_file({**network.model.state_dict(), **halves}, weights_path(run, step))
        data = {"weights": step in KEPT, "bytes": size, "seconds": 0.01}
        events.append(Event("film", step, step / 10, data))
    lines = [json.dumps(event.__dict__) for event in sorted(events, key=lambda event: event.step)]
    (run / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return run
