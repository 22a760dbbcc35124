"""One of two processes that train together is killed or halted: it is named, both end, the same command goes on."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from torch import distributed as dist

from convscope import rank_watch
from tests.faults.harness import Command, Ended, Tally, complaints, cycle, differing, traces, training, until
from tests.faults.tiny import RECIPES, STEPS
from tests.patience import PATIENCE

MOST_SECONDS = 30.0
"""After so long no rank may be left."""

TRIES = 5
"""So often a training is tried again that was over before its loss."""

TOGETHER = 2
"""So many pairs are tried at once: they mostly wait."""


@dataclass
class Impatience:
    """From when that file is there a silent rank soon counts as lost; before, one that is only slow does not."""

    file: Path

    def plant(self) -> None:
        """Plant it."""
        rank_watch.BEAT_SECONDS, rank_watch.SILENT_SECONDS = 0.1, PATIENCE
        Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        if until(self.file.exists):
            rank_watch.SILENT_SECONDS = 0.5


def meeting(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun tells a rank: which of how many it is, and where they meet."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


class Pair:
    """Two ranks that train a run, with the meeting place that torchrun would give them."""

    def __init__(self, recipe: str, run: Path, faults: Sequence[Any] = ()) -> None:
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.ranks = [
            Command(
                training(recipe, run),
                run.with_name(f"{run.name}-{rank}"),
                faults=faults,
                environment=meeting(rank, 2, self._store.port),
            )
            for rank in (0, 1)
        ]

    def wait(self, seconds: float | None = None) -> list[Ended]:
        """Wait for both, MOST_SECONDS unless told otherwise."""
        deadline = time.monotonic() + (MOST_SECONDS if seconds is None else seconds)
        return [rank.wait(seconds=max(deadline - time.monotonic(), 0.0)) for rank in self.ranks]


def ranks(folder: Path, *, count: int = 50, seed: int = 0, impatient: bool = False) -> Tally:
    """Lose so many ranks, half of them by kill -9 and half by SIGSTOP, the leader as often as the other."""
    tally, dice = Tally("lost ranks"), random.Random(seed)
    wholes: dict[str, dict[str, Any]] = {}
    for recipe in list(RECIPES)[:count]:
        ended = Pair(recipe, folder / f"pair-{recipe}").wait()
        assert [each.code for each in ended] == [0, 0], ended
        wholes[recipe] = traces(folder / f"pair-{recipe}")
    slowest: list[float] = []

    def lose(index: int, moment: int) -> tuple[str, str]:
        recipe, rank = cycle(wholes, index), index % 2
        number = cycle((signal.SIGKILL, signal.SIGSTOP), index // 2)
        run = folder / f"lost-{index}"
        what = f"{'kill -9' if number == signal.SIGKILL else 'SIGSTOP'}, rank {rank}{' (leads)' if rank == 0 else ''}"
        for _ in range(TRIES):
            lost = run.with_suffix(".now")
            pair = Pair(recipe, run, [Impatience(lost)] if impatient else ())
            if not until(lambda pair=pair: pair.ranks[rank].steps >= moment):
                return what, f"it did not come to step {moment}: {pair.wait(0)}"
            pair.ranks[rank].send(number)
            lost.touch()
            began = time.monotonic()
            ended = pair.wait()
            if any(each.code for each in ended):
                break
            run = run.with_name(f"{run.name}-again")  # it was over before
        else:
            return what, f"{TRIES} times the training was over before the loss"
        slowest.append(time.monotonic() - began)
        failure = complaints(
            (ended[rank].code == 137, f"the lost one ended with {ended[rank].code}"),
            (ended[1 - rank].code == 8, f"the other ended with {ended[1 - rank].code}: {ended[1 - rank].said}"),
            (ended[1 - rank].one_line, f"said {ended[1 - rank].said}"),
            (any(f"rank {rank} " in line for line in ended[1 - rank].said), "the lost one is not named"),
        )
        if not failure:
            again = Pair(recipe, run).wait()
            codes = [each.code for each in again]
            failure = differing(run, wholes[recipe]) if codes == [0, 0] else f"then {again}"
        return what, failure

    moments = [dice.randrange(1, STEPS * 3 // 4) for _ in range(count)]
    with ThreadPoolExecutor(TOGETHER) as pool:
        for what, failure in pool.map(lose, range(count), moments):
            tally.count(what, failure)
    tally.remarks.append(f"The slowest pair was gone {max(slowest):.1f} s after the loss.")
    return tally
