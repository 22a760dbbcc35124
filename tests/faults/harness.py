"""Commands run in processes forked from one that has imported torch, what they end with, and counts of it."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.faults.tiny import write_recipe
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["__main__", "tests.faults.child"])
STARTING = threading.Lock()
"""To start one process, multiprocessing looks how the others do, and no two threads may ask that at once."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int  # as a shell tells it: 137 after kill -9
    said: list[str]  # the lines on standard error
    seconds: float

    @property
    def one_line(self) -> bool:
        """Whether the last line explains the failure, and is the only one to."""
        told = [line for line in self.said if line.startswith("convscope: ")]
        return len(told) == 1 and self.said[-1] == told[0] and not any("Traceback" in line for line in self.said)


@functools.cache
def start_server() -> None:
    """Start the process that imports torch once and is forked for each command."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with patch.dict(os.environ, {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()


class Command:
    """A command that runs in a process of its own."""

    def __init__(
        self,
        arguments: Sequence[str],
        output: Path,
        *,
        faults: Sequence[Any] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; `output` is where what it says goes, with .out and .err added."""
        self._error = Path(f"{output}.err")
        self._steps = CONTEXT.RawValue("q", -1)
        given = (list(arguments), str(output), dict(environment or {}), list(faults), self._steps)
        from tests.faults.child import run_command  # here, so that who only counts need not import torch

        self._process = CONTEXT.Process(target=run_command, args=given)
        start_server()
        with STARTING:
            self._process.start()
        until(lambda: self._steps.value >= 0 or not self.alive)
        self._began = time.monotonic()

    @property
    def steps(self) -> int:
        """How many steps of training it has done."""
        return max(self._steps.value, 0)

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        """Whether it runs still."""
        with STARTING:
            return self._process.is_alive()

    def send(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.alive:
            os.kill(self.process, number)

    def wait(self, *, seconds: float = PATIENCE) -> Ended:
        """Wait for its end; one that outlasts the patience is killed, and its code is -1."""
        asked = time.monotonic()
        if until(lambda: not self.alive, seconds=seconds):
            code = self._process.exitcode or 0
            code = 128 - code if code < 0 else code
        else:
            self._process.kill()
            until(lambda: not self.alive)
            code = -1
        said = self._error.read_text(encoding="utf-8").splitlines() if self._error.exists() else []
        return Ended(code, said, time.monotonic() - asked)


def training(recipe: str, run: Path) -> list[str]:
    """The command that trains by one of tiny.RECIPES, or goes on with the training that stands there."""
    path = write_recipe(run.parent, recipe)
    return ["train", "planted", "--recipe", str(path), "--device", "cpu", "--quiet", "--out", str(run)]


def train(recipe: str, run: Path, **keywords: Any) -> Ended:
    """Run that command to its end."""
    return Command(training(recipe, run), run.with_suffix(".log"), **keywords).wait()


VOLATILE = {"seconds", "images_per_second", "bytes"}
"""What two trainings of the same bits may differ in."""

LINES = {"log": ("eval", "phase", "end"), "windows": ("train",), "film/log": ("film", "alarm")}
"""The kinds of the log's lines that they may not differ in; "start" and "checkpoint" tell of resumptions."""


def traces(run: Path) -> dict[str, Any]:
    """Everything that a run of the same bits leaves alike: the newest checkpoint, what the log tells, the film."""
    newest = checkpoints(run)[-1]
    record = json.loads((newest / "checkpoint.json").read_bytes())
    found: dict[str, Any] = {f"state.{key}": value for key, value in record["state"].items() if key not in VOLATILE}
    for name in ("weights.safetensors", "state.safetensors"):
        found[name] = hashlib.sha256((newest / name).read_bytes()).hexdigest()
    for path in sorted((run / "film").glob("*")):
        found[f"film/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    for key, kinds in LINES.items():
        lines = [line for line in whole_lines(run) if line["kind"] in kinds]
        told = [{name: value for name, value in line["data"].items() if name not in VOLATILE} for line in lines]
        found[key] = [(line["kind"], line["step"], data) for line, data in zip(lines, told, strict=True)]
    return found


def differing(run: Path, whole: Mapping[str, Any], *, without: str = "nothing") -> str:
    """In what a run differs from the traces of the one that was left alone; empty where in nothing.

    `without` is how the names of those begin that are not looked at.
    """
    ours = traces(run)
    keys = [key for key in dict.fromkeys([*whole, *ours]) if not key.startswith(without)]
    return ", ".join(key for key in keys if ours.get(key) != whole.get(key))


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints that are in place, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def whole_lines(run: Path) -> list[dict[str, Any]]:
    """The lines of the run's log; of one that was killed the last may be cut off, and is left out."""
    lines = (run / "events.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


@dataclass
class Tally:
    """How often each promise was tried, and how often it held."""

    name: str
    rows: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    failures: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])

    def count(self, what: str, failure: str = "") -> None:
        """Count one trial; it held unless there is something to say."""
        row = self.rows.setdefault(what, [0, 0])
        row[0] += 1
        row[1] += not failure
        if failure:
            self.failures.append(f"{what}: {failure}")

    def __str__(self) -> str:
        """A table."""
        lines = [f"## {self.name}", "", "| what | tried | held |", "| --- | ---: | ---: |"]
        lines += [f"| {what} | {tried} | {held} |" for what, (tried, held) in self.rows.items()]
        total = [sum(row[index] for row in self.rows.values()) for index in (0, 1)]
        lines += [f"| **all** | **{total[0]}** | **{total[1]}** |", *(["", *self.remarks] if self.remarks else [])]
        return "\n".join(lines + [f"FAILED {each}" for each in self.failures])


def until(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> bool:
    """Wait for something to become true; whether it did."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def complaints(*checks: tuple[bool, str]) -> str:
    """What of several checks did not hold, in one line."""
    return "; ".join(text for held, text in checks if not held)


def cycle(items: Iterable[Any], index: int) -> Any:
    """The item whose turn it is."""
    known = list(items)
    return known[index % len(known)]
