"""Every operation on a run's files made to fail in turn: it is told, and what was saved can be read."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from pathlib import Path

from tests.faults.disk import Disk
from tests.faults.harness import Ended, Tally, checkpoints, complaints, differing, train
from tests.faults.kills import Whole, in_a_save, left_alone

ERRORS = ("ENOSPC", "EIO", "EACCES")


FRAMES = 2
"""So many of the film's frames are tried: they are written alike."""


def saves(folder: Path, *, count: int = 0, seed: int = 0) -> Tally:
    """Fail each operation of every save with each error, and those on the other files of the run; 0: all of them.

    With a `count`, as many are drawn at random. A full disk and a folder that may not be written to stay so; EIO
    comes once, after half of the bytes.
    """
    tally, dice = Tally("a disk that refuses"), random.Random(seed)
    whole = left_alone(folder, "switch")
    for number, operation in enumerate(whole.operations):
        if operation.startswith("rename "):
            tally.count("write, fsync, rename, fsync: in this order", out_of_order(whole.operations, number))
    trials = [(error, number) for error in ERRORS for number in chosen(whole.operations)]
    for error, number in dice.sample(trials, count) if count else trials:
        run, operation = folder / f"{error}-{number}", whole.operations[number - 1]
        disk = Disk(str(run), at=number, fault=error, once=error == "EIO", half=error == "EIO")
        failure = judge(run, train("switch", run, faults=[disk]), whole)
        place = "of a save" if in_a_save(operation) else "of the log, the film, run.json and the lock"
        tally.count(f"{error}, {operation.partition(' ')[0]} {place}", failure and f"{operation}: {failure}")
        shutil.rmtree(run, ignore_errors=True)
    return tally


def chosen(operations: list[str]) -> list[int]:
    """The numbers, from 1, of the operations that are tried."""
    seen: Counter[str] = Counter()
    numbers: list[int] = []
    for number, operation in enumerate(operations, 1):
        alike = re.sub(r"\d+", "N", operation)
        seen[alike] += 1
        if seen[alike] <= FRAMES or " film" not in alike:
            numbers.append(number)
    return numbers


def out_of_order(operations: list[str], number: int) -> str:
    """What of write, fsync, rename, fsync is not in this order around the rename of that number."""
    _, _, temporary = operations[number].partition(" ")
    before = operations[operations.index(f"mkdir {temporary}") : number]
    written = [path for kind, _, path in (each.partition(" ") for each in before) if kind == "write"]
    folder = temporary.rpartition("/")[0]
    return complaints(
        (len(written) == 3, f"wrote {written}"),
        (all(f"fsync {path}" in before[before.index(f"write {path}") :] for path in written), "a file is not synced"),
        (before[-1] == f"fsync {temporary}", "its folder is not synced"),
        (f"fsync {folder}" in operations[number : number + 3], "the rename is not synced"),
    )


def judge(run: Path, ended: Ended, whole: Whole) -> str:
    """What is wrong with how a run ended whose disk refused; empty where nothing is."""
    if ended.code == 0:  # something that may be missed, say a frame of the film: the rest is as it would have been
        return differing(run, whole.traces, without="film/")
    told = complaints(
        (ended.code == 6, f"exit {ended.code}"),
        (ended.one_line, f"said {ended.said}"),
    )
    if told:
        return told
    saved = [path.name for path in checkpoints(run)]
    again = train("switch", run)
    if again.code:
        return f"then exit {again.code}: {again.said}"
    lost = complaints(
        (not any("damaged" in line for line in again.said), f"a save was damaged: {again.said}"),
        (not saved or not any("from the beginning" in line for line in again.said), "began anew"),
    )
    return lost or differing(run, whole.traces)
