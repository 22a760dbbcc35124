"""Strangers' archives and weights: opened, they run no code, write nothing outside, and take little memory."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import time
from collections.abc import Callable, Generator
from pathlib import Path
from unittest import mock

from tests.faults import hostile_archives, hostile_runs, hostile_weights
from tests.faults.harness import Tally, complaints
from tests.faults.payloads import has_run

SECONDS = 20
"""No file may take longer."""

DISK_BYTES = 5_000_000
"""What all of them may leave on the disk, beside weights that were found sound."""


@contextlib.contextmanager
def sandbox(folder: Path) -> Generator[Path]:
    """Work deep in the folder, with the cache in it too; gives where files are put that are to be opened."""
    before, inner = Path.cwd(), folder / "a" / "b" / "c"
    inner.mkdir(parents=True)
    os.chdir(inner)
    try:
        with mock.patch("convscope.data.download.user_cache_path", return_value=folder / "cache"):
            yield inner
    finally:
        os.chdir(before)


def trials(dice: random.Random, place: Path) -> list[tuple[str, str, Callable[[], str]]]:
    """What is tried: its kind, its name, and a function that says what went wrong."""
    found: list[tuple[str, str, Callable[[], str]]] = []
    for name, content in hostile_archives.packed(dice):
        found.append(
            (
                "archives",
                name,
                lambda content=content: hostile_archives.fault_of_packed(content, place / "given.tar.gz"),
            )
        )
    for number, (name, content, usable) in enumerate(hostile_archives.shards(dice)):
        folder = place / f"shards-{number}"
        found.append(
            (
                "shards",
                name,
                lambda content=content, usable=usable, folder=folder: hostile_archives.fault_of_shard(
                    content, usable, folder
                ),
            )
        )
    for name, content in hostile_runs.runs(dice):
        found.append(("runs", name, lambda content=content: hostile_runs.fault_of(content, place)))
    for pt, files in ((False, hostile_weights.safetensors(dice)), (True, hostile_weights.pickled(dice))):
        for name, content in files:
            found.append(
                (
                    ".pt files" if pt else "safetensors",
                    name,
                    lambda name=name, content=content, pt=pt: hostile_weights.fault_of(name, content, place, pt=pt),
                )
            )
    return found


def soak(folder: Path, *, count: int = 1000, seed: int = 0) -> Tally:
    """Open all of them, or so many."""
    tally = Tally("hostile archives and weights")
    with sandbox(folder) as place:
        houses = (hostile_archives, hostile_runs, hostile_weights)
        tally.count("sound ones are taken", "".join(house.fault_of_sound(place) for house in houses))
        outside = files_outside(folder)
        slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for kind, name, fault_of in trials(random.Random(seed), place)[:count]:
            began = time.monotonic()
            fault = fault_of()
            took = time.monotonic() - began
            slowest = max(slowest, took)
            failure = complaints(
                (not fault, fault),
                (not has_run(), "code ran"),
                (files_outside(folder) == outside, "something was written outside"),
                (took < SECONDS, f"took {took:.0f} s"),
            )
            tally.count(kind, f"{name}: {failure}" if failure else "")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        kept = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.suffix != ".safetensors")
        tally.count("little is left on the disk", "" if kept < DISK_BYTES else f"{kept:,} bytes")
    tally.remarks.append(f"memory grew by {grown:.0f} MB at most, the slowest file took {slowest:.1f} s")
    return tally


def files_outside(folder: Path) -> list[str]:
    """Every file of the sandbox but those that are opened and the cache."""
    inner, cache = folder / "a" / "b" / "c", folder / "cache"
    return sorted(
        str(path)
        for path in folder.rglob("*")
        if inner not in path.parents and path != cache and cache not in path.parents
    )
