"""What a terminal shows: progress on standard error, results as `key: value` lines on standard output."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from convscope.errors import spelled_out
from convscope.types import Event, no_progress
from convscope.types import Progress as ShowProgress

LIST_ITEMS = 10
"""How many items of a list are printed."""

PLAIN_STEPS = 100
"""Steps between two lines of progress where there is no terminal to draw a bar on."""


def say(text: str) -> None:
    """One line for the user on standard error; control characters, as names of files may hold, are spelled out."""
    print(spelled_out(text), file=sys.stderr, flush=True)


def print_address(address: str) -> None:
    """The address of a live page on standard output, at once."""
    print(f"url: {address}", flush=True)


def print_results(values: Mapping[str, Any], *, as_json: bool = False) -> None:
    """Results on standard output: `key: value` lines, long lists cut, or everything in one line of JSON."""
    if as_json:
        print(json.dumps(dict(values), ensure_ascii=False))
        return
    for key, value in values.items():
        print(f"{key}: {_in_words(value)}")


def _in_words(value: Any) -> str:
    """A result as people read it."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        items = cast("list[Any]", value)
        more = f", … {len(items)} in all" if len(items) > LIST_ITEMS else ""
        return ", ".join(_in_words(item) for item in items[:LIST_ITEMS]) + more or "none"
    return str(value)


@contextmanager
def show_work(*, quiet: bool) -> Generator[ShowProgress]:
    """Give a `progress(what, done, total)` for long work, drawn as bars on a terminal and nowhere else."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield no_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


class TrainingDisplay:
    """Shows a training's events: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._quiet = quiet
        self._bar: Progress | None = None
        if not quiet and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed}/{task.total}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
            )
        self._task: Any = None
        self._steps = 0
        self._last_line = 0
        self._recent: deque[Event] = deque(maxlen=50)
        self._phase = ""
        self._optimizers: list[str] = []
        self._words: dict[str, str] = {}

    def __enter__(self) -> TrainingDisplay:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, event: Event) -> None:
        """Take in one event."""
        data = event.data
        if event.kind == "start":
            self._steps = data["steps"]
            self._optimizers = data["optimizers"]
            self._recent.append(event)
            self._last_line = event.step
        elif event.kind == "phase":
            self._set_phase(data["index"])
            self._line(f"{self._phase}: steps {data['first_step']} to {data['last_step']}")
        elif event.kind == "train":
            self._set_phase(data["phase"])
            self._recent.append(event)
            self._words |= {
                "epoch": f"epoch {data['epoch']:.2f}",
                "loss": f"loss {data['loss']:.3f}",
                "train": f"train {data['accuracy']:.1%}",
                "speed": f"{data['images_per_second']:.0f} images/s",
            }
            if event.step - self._last_line >= PLAIN_STEPS:
                self._progress_line(event)
        elif event.kind == "eval":
            self._words["train"] = f"train {data['train_accuracy']:.1%}"
            self._words["test"] = f"test {data['test_accuracy']:.1%}"
            self._progress_line(event)
        elif event.kind == "alarm" and not self._quiet:
            say(f"alarm after step {event.step}: {data['message']}")
        if self._bar and event.kind in ("train", "eval"):
            order = ("epoch", "loss", "train", "test", "speed")
            words = " ".join(self._words[key] for key in order if key in self._words)
            self._bar.update(
                self._task, completed=event.step, total=self._steps, description=f"{self._phase} {words}"
            )

    def _set_phase(self, index: int) -> None:
        self._phase = f"phase {index + 1} {self._optimizers[index]}"

    def _progress_line(self, event: Event) -> None:
        self._last_line = event.step
        first = self._recent[0]  # of the last minutes or so: a machine is not always as fast as it was
        left = (event.time - first.time) / max(event.step - first.step, 1) * (self._steps - event.step)
        words = ", ".join(self._words.values())
        self._line(f"{self._phase}, step {event.step}/{self._steps}, {words}, {left:.0f} s left")

    def _line(self, text: str) -> None:
        if not self._quiet and self._bar is None:
            say(text)
