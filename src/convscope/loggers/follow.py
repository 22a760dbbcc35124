"""Passes a training's events on to loggers, each in a thread of its own: none can stop or slow the training."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from convscope.errors import NumericsError, in_one_line
from convscope.loggers import load_loggers
from convscope.loggers.memory import read_memory, write_memory
from convscope.training.folder import read_config, read_events
from convscope.types import Event, Say, say_nothing

FramePixels = Callable[[int], Mapping[str, np.ndarray]]
"""Gives the pictures (H, W, 3) uint8, by name, of the film's frame that was taken after so many steps."""

PAUSE = 1.0
"""Seconds between two times that a logger is given what has happened since."""

MOST_WAITING = 10_000
"""Events that wait for one logger; what comes while so many wait is left out of it, and that is said once."""

PATIENCE = 30.0
"""Seconds that the loggers are given at the end, all together, to pass on what is left."""

HURRY = 1.0
"""The same after a second Ctrl-C."""

TOLD_ONCE = ("train", "eval", "phase", "film", "alarm")
"""The kinds of which a resumption may bring the same events again."""


def no_pictures(step: int) -> Mapping[str, np.ndarray]:
    """The FramePixels of a training without a film."""
    return {}


class Logger(Protocol):
    """One tool, open for one run; made with (run folder, config, memory, step, frame_pixels).

    `memory` is what it remembered of the run, empty at first, and `step` is where the training begins or goes on.
    """

    where: str
    """How to look at what it has, in one line."""

    told: Mapping[str, int]
    """By kind of event, the step up to which the tool has all events already; empty for a tool that starts anew."""

    delay: float
    """Seconds after which what was logged is sure to outlive this process."""

    def log(self, events: Sequence[Event]) -> None:
        """Pass events on. Any exception ends the logging to this tool, and nothing else."""
        ...

    def close(self, reason: str) -> None:
        """End it, because the training is "finished", "interrupted" or "failed"."""
        ...


def follow(
    events: Iterable[Event],
    names: Sequence[str],
    run: Path,
    *,
    frame_pixels: FramePixels = no_pictures,
    say: Say = say_nothing,
) -> Iterator[Event]:
    """The same events, passed on to the named loggers as well.

    `run` is the run's folder, where loggers keep what they need to go on after a resumption; a training without
    one may give any folder. A logger that fails is said in one line, from its own thread, and dropped. At the end of
    the events, or when the generator is closed, the loggers are given PATIENCE seconds to finish.
    Raises UsageError for a logger that is unknown or whose package is missing: at once, before the first event.
    """
    opens = load_loggers(names)
    return _follow(events, [_Sender(name, opens[name], run, frame_pixels, say) for name in opens])


def _follow(events: Iterable[Event], senders: Sequence[_Sender]) -> Iterator[Event]:
    reason, last, patience = "failed", Event("start", 0, 0.0, {}), PATIENCE
    try:
        for event in events:
            last = event
            for sender in senders:
                sender.put(event)
            if event.kind == "end":
                reason = event.data["reason"]
            yield event
    except KeyboardInterrupt:  # the second Ctrl-C, which is to stop at once
        patience = HURRY
        raise
    except GeneratorExit:
        reason = "interrupted" if last.kind != "end" else reason
        raise
    except NumericsError as error:  # the alarm that ends a training comes as an error, not as an event
        step = last.step if error.step is None else error.step
        for sender in senders:
            sender.put(Event("alarm", step, last.time, {"what": "not finite", "message": str(error)}))
        raise
    finally:
        for sender in senders:
            sender.end(reason)
        until = time.monotonic() + patience
        for sender in senders:
            sender.wait(until - time.monotonic())


class _Sender:
    """What stands between the training and one logger: a queue and the thread that empties it."""

    def __init__(
        self, name: str, open_logger: Callable[..., Logger], run: Path, frame_pixels: FramePixels, say: Say
    ) -> None:
        self._name = name
        self._open_logger = open_logger
        self._run = run
        self._frame_pixels = frame_pixels
        self._say = say
        self._waiting: deque[Event] = deque()
        self._left_out = False
        self._failed = False
        self._reason = "failed"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, event: Event) -> None:
        """Take in one event; never waits."""
        if self._failed:
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, args=(event,), name=f"convscope {self._name}", daemon=True
            )
            self._thread.start()
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(event)
        elif not self._left_out:
            self._left_out = True
            self._say(f"{self._name} is too slow: from step {event.step}, what it has no room for is left out of it")

    def end(self, reason: str) -> None:
        """No more events will come."""
        self._reason = reason
        self._ended.set()

    def wait(self, seconds: float) -> None:
        """Wait until the logger is done, but not longer than that."""
        if self._thread is None:
            return
        self._thread.join(max(seconds, 0.0))
        if self._thread.is_alive() and not self._failed:
            self._failed = True
            self._say(
                f"{self._name} did not finish within {PATIENCE:g} s and is left behind; events.jsonl has it all"
            )

    def _work(self, first: Event) -> None:
        try:
            memory = read_memory(self._run, self._name)
            write_memory(self._run, self._name, memory)  # so that a resumption knows of a logger that failed to open
            logger = self._open_logger(self._run, _config(self._run), memory, first.step, self._frame_pixels)
            write_memory(self._run, self._name, memory)
            self._say(f"{self._name}: {logger.where}")
            self._pass_on(logger, memory)
        except BaseException as error:  # a tool may even exit: this thread, not the training
            if not self._failed:
                self._failed = True
                self._say(f"{self._name} failed and is left out from here on: {in_one_line(error)}")
            self._waiting.clear()

    def _pass_on(self, logger: Logger, memory: dict[str, Any]) -> None:
        """Give the logger what has happened, now and then, until the events end."""
        had = dict(logger.told)
        told = dict(had)
        unsure: deque[tuple[float, dict[str, int]]] = deque()  # since when, and what would be told, sooner first
        batch = _new(_past(self._run), had)
        ended = False
        while not ended:
            ended = self._ended.wait(PAUSE)
            batch += _new([self._waiting.popleft() for _ in range(len(self._waiting))], had)
            if batch:
                logger.log(batch)
                told |= {event.kind: event.step for event in batch if event.kind in TOLD_ONCE}
                unsure.append((time.monotonic(), dict(told)))
                batch = []
            while unsure and time.monotonic() - unsure[0][0] >= logger.delay:
                memory["told"] = unsure.popleft()[1]
                write_memory(self._run, self._name, memory)
        logger.close(self._reason)
        write_memory(self._run, self._name, {**memory, "told": told})


def _new(events: Iterable[Event], told: Mapping[str, int]) -> list[Event]:
    """Those of the events that a tool which has been told so much does not have."""
    return [event for event in events if event.kind not in TOLD_ONCE or event.step > told.get(event.kind, -1)]


def _past(run: Path) -> list[Event]:
    """What the log tells of the time before the last start, without its starts and ends."""
    events = read_events(run)
    starts = [number for number, event in enumerate(events) if event.kind == "start"]
    return [event for event in events[: starts[-1] if starts else 0] if event.kind in TOLD_ONCE]


def _config(run: Path) -> Mapping[str, Any]:
    """The run's run.json; empty for a training that has none."""
    return read_config(run) if (run / "run.json").is_file() else {}
