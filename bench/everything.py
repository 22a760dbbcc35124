"""All comparisons in one table, each in a process of its own, so that one that fails does not end the others."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import FIGURES_HEADER, Figure, tell_met
from bench.timing import machine
from convscope.durable import replace_file, to_json


@dataclass(frozen=True)
class Job:
    """One comparison with its arguments, whole and quick."""

    name: str
    whole: str = ""
    quick: str = ""
    photographs: bool = False  # takes --data-dir

    def arguments(self, *, quick: bool, data_dir: str | None) -> list[str]:
        """What follows `python -m bench`."""
        given = ["--data-dir", data_dir] if self.photographs and data_dir else []
        return [self.name, *shlex.split(self.quick if quick else self.whole), *given]


SMALL = "--model resnet8 --batch 32"

JOBS = (
    Job("train", "--model resnet18-7x7 --steps 100", f"{SMALL} --steps 10 --pairs 1 --matrix 256 --tune off", True),
    Job(
        "train",
        "--model resnet18 --steps 10",
        f"{SMALL} --steps 10 --pairs 1 --matrix 256 --tune off --only ours",
        True,
    ),
    Job("overheads", "", "--quick --pairs 1 --clicks 4 --recipe small", True),
    Job("watched", "--pairs 3 --steps 300", "--pairs 1 --steps 20 --model resnet8"),
    Job("watch", "--pairs 3", "--pairs 1 --events 10000"),
    Job("memory", "--model resnet18-7x7", f"{SMALL} --steps 2 --images 500 --methods filters", True),
    Job("maximize", "--pairs 3", "--pairs 1 --steps 2 --channels 1 --peer-channels 1"),
    Job("reconstruct", "", "--pairs 1 --channels 2 --size 32"),
    Job("reconstruct", "--size 32", "--pairs 1 --channels 2 --size 32"),
    Job("top-images", "--pairs 3", "--pairs 1 --images 500 --model resnet8"),
)


def main(argv: Sequence[str]) -> None:
    """Run the jobs in turn, and write what they measured as one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that all of it works")
    parser.add_argument(
        "--data-dir", help="the photographs, as for `convscope train cifar10`; noise and digits without"
    )
    parser.add_argument("--runs", nargs="*", default=[], help="finished runs, for the time to accuracy")
    parser.add_argument("--only", nargs="+", help="these comparisons alone")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds after which one is given up")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    asked = parser.parse_args(argv)
    commands = [job.arguments(quick=asked.quick, data_dir=asked.data_dir) for job in JOBS]
    commands += [["accuracy", *asked.runs]] if asked.runs else []
    commands = [command for command in commands if not asked.only or command[0] in asked.only]
    records = [run(command, timeout=asked.timeout) for command in commands]
    if asked.quick:  # nothing is held against figures that say nothing
        for row in (row for record in records for row in (*record["comparisons"], *record["figures"])):
            row |= {"wanted": None, "met": None}
    table = markdown(records, machine(["torchvision", "timm", "keras", "captum", "torch-lucent"]))
    print(table)
    if asked.markdown:
        replace_file(asked.markdown, (table + "\n").encode())
    if asked.json:
        replace_file(asked.json, to_json({"command": _command(argv), "machine": machine(), "benchmarks": records}))


def run(command: Sequence[str], *, timeout: float) -> dict[str, Any]:
    """What a comparison in a process of its own measured, or why it did not, with the seconds that it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "figures.json")
        line = [sys.executable, "-m", "bench", *command, "--json", str(told)]
        print(f"python -m bench {shlex.join(command)} …", file=sys.stderr, flush=True)
        try:
            ended = subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False)
            words = ended.stderr.strip().splitlines() or ["it said nothing"]
            failure = words[-1] if ended.returncode else ""
        except subprocess.TimeoutExpired:
            failure = f"given up after {timeout:.0f} s"
        record: dict[str, Any] = json.loads(told.read_bytes()) if told.exists() else {}
    if failure or not record:
        record = {"comparisons": [], "figures": [], **record, "failure": failure or "no figures"}
    return record | {
        "command": "python -m bench " + shlex.join(command),
        "seconds": round(time.monotonic() - began, 1),
    }


def markdown(records: Iterable[Mapping[str, Any]], where: Mapping[str, Any]) -> str:
    """One table of all that was measured, what failed said in its place, and below it machine, versions, commands."""
    rows, below = [FIGURES_HEADER], list[str]()
    for record in records:
        rows += [compared(each) for each in record["comparisons"]]
        rows += [_figure(each).markdown() for each in record["figures"]]
        if "failure" in record:
            rows.append(f"| `{record['command']}` | failed |  |  | {_cell(record['failure'])} |")
        facts = "; ".join(f"{key} {value}" for key, value in record.get("facts", {}).items())
        below.append(f"- `{record['command']}` ({record['seconds']:.0f} s): {facts}")
    on = "; ".join(f"{key} {value}" for key, value in where.items())
    return "\n".join([*rows, "", on, "", *below])


def compared(row: Mapping[str, Any]) -> str:
    """The row of a comparison as it stands in a record."""
    pairs = [peer / ours for ours, peer in zip(row["ours"], row["peer"], strict=True)]
    spread = f" ({min(pairs):.3g} to {max(pairs):.3g})" if len(pairs) > 1 else ""
    wanted = "" if row["wanted"] is None else f"at least {row['wanted']:.3g}×"
    note = f"{len(pairs)} pairs" if len(pairs) > 1 else "1 pair"
    return f"| {row['what']} | {row['speedup']:.3g}× as fast{spread} | {wanted} | {tell_met(row['met'])} | {note} |"


def _figure(row: Mapping[str, Any]) -> Figure:
    """A figure as it stands in a record."""
    told = {key: value for key, value in row.items() if key not in ("value", "met")}
    return Figure(**told | {"values": tuple(row["values"])})


def _cell(text: str) -> str:
    """Words that do not break a table."""
    return text.replace("|", "/")[:200]


def _command(argv: Sequence[str]) -> str:
    return "python -m bench all " + shlex.join(argv)
