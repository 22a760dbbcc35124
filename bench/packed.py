"""Class folders of small images as one file that is quickly carried elsewhere: an .npz of the files' own bytes.

The 60,000 photographs of 32×32 are 184 MB as pixels and 57 MB in as many JPEG files, whose headers are nearly all
alike: compressed together they are 18 MB, and nothing is lost.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convscope.data.decode import ENDINGS, read_size
from convscope.data.memory import dataset_in_memory
from convscope.types import Dataset


def pack(folder: Path, target: Path) -> None:
    """Write the images of train/CLASS/ and test/CLASS/, squares of one size, to a file that ends in .npz."""
    classes = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    found: dict[str, np.ndarray] = {"classes": np.array(classes)}
    side = 0
    for half in ("train", "test"):
        paths = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted((folder / half / name).iterdir())
            if path.suffix.lower() in ENDINGS
        ]
        files = [path.read_bytes() for path, _ in paths]
        found[f"{half}_bytes"] = np.frombuffer(b"".join(files), np.uint8)
        found[f"{half}_lengths"] = np.array([len(file) for file in files], np.int32)
        found[f"{half}_labels"] = np.array([label for _, label in paths], np.int64)
        side = read_size(paths[0][0])[0]
    found["side"] = np.array(side, np.int32)
    np.savez_compressed(target, allow_pickle=False, **found)  # pyright: ignore[reportArgumentType]


def unpack(file: Path) -> Dataset:
    """The dataset that a packed file holds, decoded."""
    with np.load(file, allow_pickle=False) as held:
        classes = [str(name) for name in held["classes"]]
        halves = [_half(held, name, int(held["side"])) for name in ("train", "test")]
    return dataset_in_memory("cifar10", halves[0], halves[1], classes, source=f"packed in {file.name}")


def _half(held: Mapping[str, np.ndarray], name: str, side: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, side, side) uint8 and labels (N,)."""
    data, ends = held[f"{name}_bytes"].tobytes(), np.cumsum(held[f"{name}_lengths"], dtype=np.int64)
    pixels = torch.empty(len(ends), 3, side, side, dtype=torch.uint8)
    start = 0
    for number, end in enumerate(ends.tolist()):
        image = np.array(Image.open(io.BytesIO(data[start:end])).convert("RGB"))  # (side, side, 3)
        pixels[number] = torch.from_numpy(image).permute(2, 0, 1)
        start = end
    return pixels, torch.from_numpy(held[f"{name}_labels"])
