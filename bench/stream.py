"""The memory that a dataset of up to ten million images takes while it trains: shards planted as an index."""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from bench.timing import machine
from convscope.data.augment import epoch_order
from convscope.data.listed import listed_dataset
from convscope.data.listing import Half, Listing
from convscope.data.shard_index import COLUMNS, read_index, write_index
from convscope.data.shards import Members
from convscope.durable import replace_file, to_json
from convscope.training.batches import Batches
from convscope.types import Augmentation, Phase, Recipe, no_progress

REAL = 512  # images that there are; every entry of the index is one of them
PER_SHARD = 10_000
CLASSES = 1000


def main(argv: Sequence[str]) -> None:
    """Measure each size in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(
        description="memory and time of streamed training batches, by images in the index"
    )
    parser.add_argument("--images", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.alone:
        print(json.dumps(measure(asked.alone, asked.images[0], asked.batches)))
        return
    rows: list[dict[str, Any]] = []
    for images in asked.images:
        with tempfile.TemporaryDirectory() as folder:
            plant(Path(folder), images)
            command = [sys.executable, "-m", "bench", "stream", "--alone", folder, "--images", str(images)]
            environment = os.environ | {"XDG_CACHE_HOME": folder}
            done = subprocess.run(
                [*command, "--batches", str(asked.batches)],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            rows.append(json.loads(done.stdout))
    heads = list(rows[0])
    print("\n".join([f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]))
    for row in rows:
        print(f"| {' | '.join(f'{value:,}' for value in row.values())} |")
    print("\n" + "; ".join(f"{key} {value}" for key, value in machine(["pillow"]).items()))
    if asked.json:
        replace_file(asked.json, to_json({"rows": rows, "machine": machine(["pillow"])}))


def plant(folder: Path, images: int) -> None:
    """A shard of REAL images, and indices (training and a hundredth for testing) of so many that all lie in it."""
    draw = np.random.default_rng(0)
    shard = folder / "train-000000.tar"
    places: list[tuple[int, int]] = []
    with tarfile.open(shard, "w") as tar:
        for number in range(REAL):
            content = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(content, "PNG")
            about = tarfile.TarInfo(f"{number:06}.png")
            about.size = content.tell()
            places.append((tar.offset + tarfile.BLOCKSIZE, about.size))
            content.seek(0)
            tar.addfile(about, content)
    for name, count in (("train", images), ("test", max(CLASSES, images // 100))):
        place = folder / name
        place.mkdir()
        kinds = {"offsets": [at for at, _ in places], "lengths": [size for _, size in places]}
        for column, kind in COLUMNS.items():
            with (place / f"{column}.bin").open("wb") as file:
                for start in range(0, count, 2**16):
                    numbers = np.arange(start, min(start + 2**16, count))
                    values = numbers % CLASSES if column == "labels" else np.array(kinds[column])[numbers % REAL]
                    file.write(values.astype(kind).tobytes())
        starts = [*range(0, count, PER_SHARD), count]
        shards = [str(shard)] * (len(starts) - 1)
        write_index(place, shards=shards, lengths=[shard.stat().st_size] * len(shards), starts=starts)


def measure(folder: Path, images: int, batches: int) -> dict[str, Any]:
    """Load the dataset, stream training batches, and look at the memory of this process and its workers."""
    before = _own_memory(os.getpid())
    began = time.process_time()
    train, test = (read_index(folder / name) for name in ("train", "test"))
    halves = [Half(Members(index), index.labels) for index in (train, test)]
    names = tuple(map(str, range(CLASSES)))
    dataset = listed_dataset(
        Listing(halves[0], halves[1], names, ""),
        name="planted",
        where=str(folder),
        source="",
        image_size=32,
        skip_bad=False,
        in_memory=False,
        progress=no_progress,
    )
    loaded = time.process_time() - began
    recipe = Recipe(
        "", "", "", (Phase("sgd", 0.1, epochs=1),), augmentation=Augmentation(crop=4, flip=True, cutout=8)
    )
    source = Batches(dataset, recipe, device=torch.device("cpu"))
    most = workers = 0
    for number, _ in enumerate(source.stream(0, batches)):
        if number % 10 == 0:
            children = psutil.Process().children(recursive=True)
            workers = max([workers, *(_own_memory(child.pid) for child in children)])
            most = max(most, _own_memory(os.getpid()))
    began = time.process_time()
    epoch_order(images, seed=0, epoch=5, first=images // 2, last=images // 2 + 128)
    order = time.process_time() - began
    index = sum(file.stat().st_size for place in ("train", "test") for file in (folder / place).iterdir())
    return {
        "images": images,
        "index on the disk, MB": round(index / 1e6, 1),
        "CPU seconds to load and survey": round(loaded, 2),
        "CPU seconds to enter an epoch in the middle": round(order, 3),
        "memory before, MB": round(before / 1e6),
        "while streaming, MB": round(most / 1e6),
        "a worker's at most, MB": round(workers / 1e6),
    }


def _own_memory(pid: int) -> int:
    """Bytes that a process holds for itself; pages of files, which the system drops at need, do not count."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell what memory a process holds for itself")
