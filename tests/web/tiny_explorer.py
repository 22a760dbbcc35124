"""A tiny network with a tiny dataset in an explorer, whose answers a test can compute itself."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
from torch import nn

from convscope.data.memory import dataset_in_memory
from convscope.types import Dataset, Network
from convscope.web.explorer.doorway import POSTS
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.routes import Explorer
from tests.web.served import opened, serving_app

CLASSES = ("cat", "<script>alert(1)</script>", 'dog" onload="x')


def tiny_network() -> Network:
    """Two convolutions and a head, for images of 8×8."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )
    return Network(model.eval(), (0.5,) * 3, (0.25,) * 3, (8, 8), CLASSES, "tiny", "0" * 64)


def tiny_dataset() -> Dataset:
    """Thirty images to train on and twelve to test on, noise of a brightness of its own for each class."""
    draw = torch.Generator().manual_seed(5)

    def half(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % 3
        pixels = torch.randint(0, 86, (count, 3, 8, 8), generator=draw) + 85 * labels.view(-1, 1, 1, 1)
        return pixels.byte(), labels

    return dataset_in_memory("noise", half(30), half(12), CLASSES, source="here")


def tiny_explorer(store: Path, **changes: Any) -> Explorer:
    """The explorer of these."""
    network = changes.pop("network", None) or tiny_network()
    given: dict[str, Any] = {"images": None, "arguments": ["runs/tiny"], "store": store, **changes}
    explored = Explored(network, None, given.pop("dataset", tiny_dataset()), **given)
    return Explorer(explored, network, warn=print)


@contextmanager
def serving_explorer(explorer: Explorer) -> Generator[str]:
    """A real server of the explorer; gives the address that it says."""
    with serving_app(explorer.app, explorer.close, posts=POSTS) as address:
        yield address
    explorer.join()  # torch must not outlive Python


@contextmanager
def exploring(explorer: Explorer) -> Generator[httpx.Client]:
    """A client of a real server of the explorer."""
    with serving_explorer(explorer) as address, opened(address) as client:
        client.headers["origin"] = str(client.base_url)
        yield client
