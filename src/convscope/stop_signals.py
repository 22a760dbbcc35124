"""Ctrl-C and SIGTERM, taken as the wish to stop after the step in hand."""

from __future__ import annotations

import signal
import time
from types import FrameType

SAME_SIGNAL_SECONDS = 0.5


class StopSignals:
    """Within it, the first Ctrl-C or SIGTERM asks the training to stop and a second, later one stops it at once.

    Under torchrun one Ctrl-C comes twice: from the terminal, and passed on.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._first = 0.0

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received is not None

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._first = number, time.monotonic()
        elif time.monotonic() - self._first > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt
