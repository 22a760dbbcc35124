"""Whether the other ranks are alive: each counts aloud, and one that falls silent is named and ends all."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

import psutil

from convscope.errors import RankLost

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

BEAT_SECONDS = 1.0
SILENT_SECONDS = 12.0
"""After so long without a beat a rank counts as lost."""

DONE, FAILED = "done", "failed: "
"""The last words of a rank that ends in order, and the first of one that tells why it fails."""


class RankWatch:
    """A thread that beats for its own rank, listens for the others, and ends this process when one is lost.

    A process that hangs in a collective cannot end itself: that is why a thread does it.
    """

    def __init__(self, store: Store, rank: int, count: int) -> None:
        self._store = store.clone()  # a connection of its own: the other may be waiting
        self._rank = rank
        self._others = [other for other in range(count) if other != rank]
        self._ended = Event()
        self._telling = Lock()  # whoever takes it tells the user what is lost
        self._lost: str | None = None
        self._thread = Thread(target=self._listen, name="rank-watch", daemon=True)
        self._thread.start()

    def find_lost(self) -> str | None:
        """After a failure wait for the listener's word on which rank is lost; None where all are alive."""
        self._telling.acquire()
        deadline = time.monotonic() + SILENT_SECONDS + 3 * BEAT_SECONDS
        while self._lost is None and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(BEAT_SECONDS / 4)
        return self._lost

    def leave(self, last_words: str = DONE) -> None:
        """End the beating, so that the others do not take this rank for lost."""
        self._ended.set()
        self._thread.join(SILENT_SECONDS)  # a beat after the last words would be taken for the beginning of a silence
        with suppress(RuntimeError):  # the store may be gone already
            self._store.set(_key(self._rank), last_words)

    def _listen(self) -> None:
        """Beat and listen until this rank leaves or another is lost."""
        me = f"{socket.gethostname()} {_name(psutil.Process())}"
        said = dict.fromkeys(self._others, "")
        since = dict.fromkeys(self._others, time.monotonic())
        beat = 0
        while True:
            beat += 1
            try:
                self._store.set(_key(self._rank), f"{me} {beat}")
                now = {rank: self._store.get(_key(rank)).decode() for rank in self._others if self._spoke(rank, said)}
            except RuntimeError:
                return self._end("what the ranks find each other through (torchrun, or rank 0) is gone")
            for rank, words in now.items():
                if words.startswith(FAILED):
                    return self._end(f"rank {rank} {words}")
                if words != said[rank] or words == DONE:
                    said[rank], since[rank] = words, time.monotonic()
            for rank in self._others:
                if time.monotonic() - since[rank] > SILENT_SECONDS:
                    _stop(said[rank])
                    return self._end(f"rank {rank} has been silent for {SILENT_SECONDS:.0f} s and counts as lost")
            if self._ended.wait(BEAT_SECONDS):
                return None

    def _spoke(self, rank: int, said: dict[int, str]) -> bool:
        """Whether a rank has ever said something: asking for what is not there would wait."""
        return bool(said[rank]) or self._store.check([_key(rank)])

    def _end(self, reason: str) -> None:
        """Tell what is lost and end this process, unless somebody waits for the word and does."""
        self._lost = f"{reason}; all ranks end; the same command goes on from the last checkpoint"
        if not self._ended.is_set() and self._telling.acquire(blocking=False):
            sys.stderr.write(f"convscope: {self._lost}\n")
            sys.stderr.flush()
            os._exit(RankLost.exit_code)


def _key(rank: int) -> str:
    return f"convscope/beat/{rank}"


def _name(process: psutil.Process) -> str:
    """Its number and when it began: machines may share a name, and containers numbers."""
    return f"{process.pid} {process.create_time()}"


def _stop(last_words: str) -> None:
    """Kill a silent process where it is on this machine: one that is halted would keep torchrun waiting."""
    host, _, rest = last_words.partition(" ")
    number, _, _ = rest.partition(" ")
    with suppress(psutil.Error, ValueError):
        process = psutil.Process(int(number))
        if host == socket.gethostname() and rest.startswith(f"{_name(process)} "):
            process.kill()
