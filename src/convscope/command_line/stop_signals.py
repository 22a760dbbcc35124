"""Ctrl-C and SIGTERM: they end at once what runs, or, in a training, ask it to stop after the step in hand."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

SAME_SIGNAL_SECONDS = 0.5
"""Under torchrun one Ctrl-C comes twice: from the terminal, and passed on."""


class StoppedAtOnce(KeyboardInterrupt):
    """A KeyboardInterrupt that tells its signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def told_as_interrupts() -> Generator[None]:
    """Within it Ctrl-C and SIGTERM raise StoppedAtOnce; a signal that comes twice does so once."""
    last = -SAME_SIGNAL_SECONDS

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > SAME_SIGNAL_SECONDS:
            raise StoppedAtOnce(number)

    before = {number: signal.signal(number, take) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """What a command that was stopped at once exits with: 130 after Ctrl-C, 143 after SIGTERM.

    >>> exit_code(KeyboardInterrupt()), exit_code(StoppedAtOnce(signal.SIGTERM))
    (130, 143)
    """
    return 128 + (interrupt.number if isinstance(interrupt, StoppedAtOnce) else signal.SIGINT)


class StopSignals:
    """Within it, once a training has begun, the first signal asks it to stop; a second, later one ends it at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._first = 0.0
        self._begun = False

    def begin(self) -> None:
        """From now on somebody asks whether to stop; before, a signal ends at once what nobody would stop."""
        self._begun = True

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """What a command exits with whose training was asked to stop: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.received or signal.SIGINT)

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._begun and self.received is None:
            self.received, self._first = number, time.monotonic()
        elif not self._begun or time.monotonic() - self._first > SAME_SIGNAL_SECONDS:
            self._end(number, frame)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Let the signal do what it would have done without us, or raise StoppedAtOnce."""
        before = self._before[signal.Signals(number)]
        if not callable(before):
            raise StoppedAtOnce(number)
        before(number, frame)
