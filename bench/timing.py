"""Two ways of doing the same, timed by turns in one process, and what the figures were measured on."""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.figures import FIGURES_HEADER, Figure
from convscope import __version__
from convscope.durable import replace_file, to_json
from convscope.training.engine import describe_machine


@dataclass(frozen=True)
class Comparison:
    """The seconds that ours and the peer took, pair by pair."""

    what: str
    ours: tuple[float, ...]
    peer: tuple[float, ...]
    wanted: float | None = None  # the least speedup

    @property
    def ratio(self) -> float:
        """Our time as a multiple of the peer's: the median over the pairs, so that a slow minute hits both."""
        return statistics.median(ours / peer for ours, peer in zip(self.ours, self.peer, strict=True))

    @property
    def speedup(self) -> float:
        """The peer's time as a multiple of ours: the median over the pairs."""
        return statistics.median(peer / ours for ours, peer in zip(self.ours, self.peer, strict=True))

    @property
    def met(self) -> bool | None:
        """Whether the speedup is what is wanted; None where nothing is."""
        return None if self.wanted is None else self.speedup >= self.wanted

    def markdown(self) -> str:
        """One row of the table that `HEADER` begins."""
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)
        spread = sorted(ours / peer for ours, peer in zip(self.ours, self.peer, strict=True))
        return (
            f"| {self.what} | {ours:.3g} s | {peer:.3g} s | {self.ratio:.3g} ({spread[0]:.3g} to {spread[-1]:.3g}) "
            f"| {self.speedup:.3g}× | {len(self.ours)} |"
        )


HEADER = "| what | ours | peer | ours ÷ peer (range) | speedup | pairs |\n| --- | --- | --- | --- | --- | --- |"


def compare(
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    what: str,
    pairs: int = 5,
    warm: bool = True,
    wanted: float | None = None,
) -> Comparison:
    """Time the two by turns, each pair beginning with the other one; with `warm`, after one untimed call of each."""
    if warm:
        ours()
        peer()
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for pair in range(pairs):
        turns = [("ours", ours), ("peer", peer)]
        for name, run in turns if pair % 2 == 0 else reversed(turns):
            seconds[name].append(_seconds(run))
    return Comparison(what, tuple(seconds["ours"]), tuple(seconds["peer"]), wanted)


def report(
    comparisons: Sequence[Comparison],
    figures: Sequence[Figure] = (),
    *,
    packages: Sequence[str] = (),
    facts: Mapping[str, Any],
    json: Path | None,
) -> None:
    """Print comparisons and figures as Markdown with what they were measured on; with `json`, write that file too.

    `packages` are the peers' distributions; `facts` are what else decides the figures: model, images, precision.
    """
    command = "python -m bench " + shlex.join(sys.argv[1:])
    where = machine(packages)
    tables = [(HEADER, comparisons), (FIGURES_HEADER, figures)]
    print("\n\n".join("\n".join([head, *(row.markdown() for row in rows)]) for head, rows in tables if rows))
    print(f"\n`{command}`; " + "; ".join(f"{key} {value}" for key, value in (*facts.items(), *where.items())))
    if json is not None:
        record = {
            "command": command,
            "facts": dict(facts),
            "machine": where,
            "comparisons": [
                asdict(each) | {"ratio": each.ratio, "speedup": each.speedup, "met": each.met} for each in comparisons
            ],
            "figures": [asdict(each) | {"value": each.value, "met": each.met} for each in figures],
        }
        replace_file(json, to_json(record))


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """The system, the processor, its cores, torch's threads, the GPU, and the versions of what ran."""
    found: dict[str, Any] = describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    found["python"] = platform.python_version()
    found["convscope"] = __version__  # of the sources that ran, whatever is installed
    for name in ("torch", "numpy", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def arguments(summary: str) -> argparse.ArgumentParser:
    """A parser with the options that every comparison has: --pairs, --threads, --json."""
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--pairs", type=int, default=5, help="how often each of the two is timed")
    parser.add_argument("--threads", type=int, help="torch's threads; torch's own choice without")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """What was asked; torch computes in as many threads as that says."""
    asked = parser.parse_args(argv)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    return asked


def _seconds(run: Callable[[], object]) -> float:
    """How long a call takes, the GPU's work included."""
    finish()
    began = time.perf_counter()
    run()
    finish()
    return time.perf_counter() - began


def finish() -> None:
    """Wait for what a GPU still has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
