"""What the data tests share: a cache of their own, small CIFAR files, small image folders."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr("convscope.data.download.user_cache_path", lambda _: folder)
    return folder


@pytest.fixture
def planted():
    """planted(file): the ten images (10, 3072) of a small CIFAR file."""
    record, position = np.arange(10)[:, None], np.arange(3072)
    return lambda file: ((file * 31 + record * 7 + position * 3 + position // 1024 * 50) % 256).astype(np.uint8)


@pytest.fixture
def cifar10(tmp_path, planted):
    """Small CIFAR-10 files with known bytes: record r of each file has label r and planted pixels."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for file, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        records = np.empty((10, 3073), np.uint8)
        records[:, 0] = np.arange(10)
        records[:, 1:] = planted(file)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


@pytest.fixture
def photos(tmp_path):
    """Class folders of PNG files: train/{cat,dog} with 6 each, test/{cat,dog} with 2 each, 8x8, random pixels."""
    root = tmp_path / "photos"
    draw = np.random.default_rng(0)
    for half, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            folder = root / half / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root
