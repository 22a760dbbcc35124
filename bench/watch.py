"""Opening a log of a million events in the dashboard, against reading the same log with Python's own json."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.figures import Figure
from bench.served import page, serving
from bench.timing import Comparison, arguments, report
from convscope.training.folder import FORMAT, KEYS

STEPS_PER_EPOCH = 1950


def main(argv: Sequence[str]) -> None:
    """Time both by turns, and look at the server's memory while a page zooms."""
    parser = arguments("a log opened in the dashboard ÷ read with json.loads, line by line")
    parser.add_argument("--events", type=int, default=1_000_000)
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        log = write_run(Path(folder, "run"), asked.events)
        seen: list[dict[str, float]] = []
        peer: list[float] = []
        for _ in range(asked.pairs):
            seen.append(open_dashboard(Path(folder)))
            peer.append(read_slowly(log))
        what = f"{asked.events:,} events, from the first request of the page to its curves"
        timed = Comparison(what, tuple(each["open"] for each in seen), tuple(peer))
        worst = {name: max(each[name] for each in seen) for name in seen[0]}
        figures = [
            Figure(what, tuple(each["open"] for each in seen), "s", wanted=2),
            Figure("the dashboard's memory with that log", (worst["memory"] / 1e6,), "MB", wanted=200),
            Figure("a zoom in it", (worst["zoom"],), "s", note="the slowest"),
        ]
        facts = {
            "log": f"{log.stat().st_size / 1e6:.0f} MB",
            "before it, the server's start": f"{worst['start']:.2f} s at most",
        }
        report([timed], figures, packages=["orjson", "starlette", "uvicorn"], facts=facts, json=asked.json)


def read_slowly(log: Path) -> float:
    """The seconds that it takes to parse every line with Python's own json."""
    began = time.perf_counter()
    with log.open("rb") as lines:
        events = [json.loads(line) for line in lines]
    assert events
    return time.perf_counter() - began


def write_run(run: Path, events: int) -> Path:
    """A run whose log has so many "train" events; its path."""
    run.mkdir()
    recipe = {"name": "sgd", "model": "resnet18-7x7", "seed": 0, "phases": []}
    config = dict.fromkeys(KEYS, "") | {"format": FORMAT, "recipe": recipe, "dataset": {"name": "cifar10"}}
    (run / "run.json").write_text(json.dumps(config), encoding="utf-8")
    start = {"resumed": False, "steps": 10 * events, "steps_per_epoch": STEPS_PER_EPOCH, "optimizers": ["sgd"]}
    with (run / "events.jsonl").open("w", encoding="utf-8") as file:
        file.write(json.dumps({"kind": "start", "step": 0, "time": 0.0, "data": start}) + "\n")
        for number in range(1, events):
            step, wave = 10 * number, (number * 7919) % 1000 / 1000
            data = {"epoch": step / STEPS_PER_EPOCH, "phase": 0, "loss": 2 / (1 + number / 1e4) + wave / 7}
            data |= {
                "accuracy": 1 - 0.9 / (1 + number / 1e4) - wave / 70,
                "learning_rate": 0.1 * (1 - number / events),
            }
            data |= {"images_per_second": 500 + 100 * wave}
            file.write(json.dumps({"kind": "train", "step": step, "time": 0.31 * number, "data": data}) + "\n")
    return run / "events.jsonl"


def open_dashboard(folder: Path) -> dict[str, float]:
    """Start the server, fetch what the page fetches, and zoom: the seconds of each, and the memory in bytes."""
    began = time.perf_counter()
    with serving("watch", str(folder)) as (process, address):
        started = time.perf_counter() - began
        with page(address) as fetch:
            asked = time.perf_counter()
            run = json.loads(fetch("/api/runs"))["runs"][0]["id"]
            series = json.loads(fetch(f"/api/runs/{run}/series"))
            opened = time.perf_counter() - asked
            total, zooms = series["total"], list[float]()
            for share in (2, 4, 16, 256):
                zoomed = time.perf_counter()
                fetch(f"/api/runs/{run}/series?from={5 * total}&to={5 * total + 10 * total / share}")
                zooms.append(time.perf_counter() - zoomed)
        memory = psutil.Process(process.pid).memory_info().rss
    return {"start": started, "open": opened, "zoom": max(zooms), "memory": float(memory)}
