"""kill -9 at random moments of a training, many of them inside a save; the same command goes on to the same bits."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.disk import Disk
from tests.faults.harness import Command, Tally, cycle, differing, traces, train, training, whole_lines
from tests.faults.tiny import RECIPES, STEPS_PER_EPOCH


class Whole(NamedTuple):
    """A training that was left alone."""

    traces: dict[str, Any]
    seconds: float
    operations: list[str]  # what it did to its files, in order
    log: list[dict[str, Any]]


WHOLES: dict[str, Whole] = {}
"""By recipe; all faults are held against the same."""


def left_alone(folder: Path, recipe: str) -> Whole:
    """Train without a fault, and note what was done to files; once for each recipe."""
    if recipe not in WHOLES:
        run, notes = folder / f"whole-{recipe}", folder / f"whole-{recipe}.operations"
        ended = train(recipe, run, faults=[Disk(str(run), notes=str(notes))])
        assert ended.code == 0, ended
        began = time.monotonic()
        assert train(recipe, folder / f"timed-{recipe}").code == 0
        operations = notes.read_text().splitlines()
        WHOLES[recipe] = Whole(traces(run), time.monotonic() - began, operations, whole_lines(run))
    return WHOLES[recipe]


def in_a_save(operation: str) -> bool:
    """Whether an operation is part of saving a checkpoint."""
    return " checkpoints" in operation


def kills(folder: Path, *, count: int = 200, seed: int = 0) -> Tally:
    """Kill so many trainings, half of them inside a save, half with the temporary folder elsewhere."""
    tally, dice = Tally("kill -9"), random.Random(seed)
    wholes = {recipe: left_alone(folder, recipe) for recipe in RECIPES}
    most = 0
    with tempfile.TemporaryDirectory(prefix="convscope-", dir=other_file_system(folder)) as elsewhere:
        for index in range(count):
            recipe, away, saving = cycle(RECIPES, index), index // 3 % 2 == 1, index // 6 % 2 == 0
            environment = {"TMPDIR": elsewhere if away else str(folder)}
            lost, failure = kill(folder / f"killed-{index}", recipe, wholes[recipe], dice, environment, saving=saving)
            most = max(most, lost)
            moment = "inside a save" if saving else "at any moment"
            tally.count(f"{recipe}, {moment}, temporary folder {'elsewhere' if away else 'beside the run'}", failure)
    if other_file_system(folder) == folder:
        tally.remarks.append("No /dev/shm here: the temporary folder was always on the run's file system.")
    tally.remarks.append(f"At most {most} steps were lost; a checkpoint interval has {STEPS_PER_EPOCH}.")
    return tally


def kill(
    run: Path, recipe: str, whole: Whole, dice: random.Random, environment: dict[str, str], *, saving: bool
) -> tuple[int, str]:
    """Kill a training and go on with it: how many steps were lost, and what is wrong in the end."""
    faults = [killed_in_a_save(run, whole, dice)] if saving else []
    while True:
        command = Command(training(recipe, run), run.with_suffix(".log"), faults=faults, environment=environment)
        if not saving:
            time.sleep(dice.uniform(0, whole.seconds))
            command.send(signal.SIGKILL)
        if command.wait().code == 137 and not is_over(run):
            break
        run = run.with_name(f"{run.name}-again")  # it was over before
    resumed = train(recipe, run, environment=environment)
    if resumed.code:
        return 0, f"exit {resumed.code}: {resumed.said}"
    begun = [line["step"] for line in whole_lines(run) if line["data"].get("resumed")]
    lost = command.steps - max(begun, default=0)
    failure = differing(run, whole.traces)
    return lost, failure or (f"{lost} steps lost" if lost > STEPS_PER_EPOCH else "")


def is_over(run: Path) -> bool:
    """Whether the training had come to its end."""
    return (run / "events.jsonl").exists() and any(event["kind"] == "end" for event in whole_lines(run))


def killed_in_a_save(run: Path, whole: Whole, dice: random.Random) -> Disk:
    """A death at some operation of some save, before it or with half of its bytes written."""
    places = [number for number, operation in enumerate(whole.operations, 1) if in_a_save(operation)]
    return Disk(str(run), at=dice.choice(places), fault="kill", half=dice.random() < 0.5)


def other_file_system(folder: Path) -> Path:
    """A place on another file system than `folder`; the same where the machine has no other."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shared.stat().st_dev != folder.stat().st_dev else folder
