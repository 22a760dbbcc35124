"""The list of runs says what a person would say who reads the folders, whatever is in them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from convscope.training.folder import lock_run
from convscope.types import Event
from convscope.web.dashboard import run_list
from convscope.web.dashboard.run_list import RunList
from tests.web.served import CONFIG, START, append, end_event, eval_event, train_event, write_run


def look(runs: RunList) -> dict[str, dict[str, Any]]:
    """Everything anew, by name."""
    runs.scan()
    for run in runs.runs.values():
        while run.log.read():
            pass
    described = json.loads(orjson.dumps(runs.describe()))
    return {row["name"]: row for row in described["runs"]}


def status_of(folder: Path, events: list[Event], *, running: bool = False) -> tuple[str, str | None]:
    run = write_run(folder / "run", events)
    if running:
        with lock_run(run):
            row = look(RunList(folder))["run"]
    else:
        row = look(RunList(folder))["run"]
    return row["status"], row["message"]


NAN = Event("alarm", 20, 2.0, {"what": "not finite", "message": "the loss is nan"})


def test_status_is_what_the_log_and_the_lock_say(tmp_path: Path):
    begun = [START, train_event(10)]
    assert status_of(tmp_path, begun, running=True) == ("running", None)
    assert status_of(tmp_path, begun) == ("stopped", None)
    assert status_of(tmp_path, []) == ("stopped", "nothing in its log yet")
    assert status_of(tmp_path, [*begun, end_event(20)]) == ("finished", None)
    assert status_of(tmp_path, [*begun, end_event(20, "interrupted")]) == ("interrupted", None)
    assert status_of(tmp_path, [*begun, end_event(20, "interrupted")], running=True) == ("running", None)
    assert status_of(tmp_path, [*begun, end_event(20, "interrupted"), START]) == ("stopped", None)
    assert status_of(tmp_path, [*begun, NAN]) == ("failed", "the loss is nan")
    assert status_of(tmp_path, [*begun, NAN, replace(START, step=10), train_event(20)]) == ("stopped", None)


def test_a_run_whose_process_died_or_is_another_by_now_is_not_running(tmp_path: Path):
    run = write_run(tmp_path / "run", [START])
    began = datetime.fromtimestamp(psutil.Process().create_time())
    note = "process {} since {:%Y-%m-%d %H:%M:%S}"
    unused = next(number for number in range(2**22 - 1, 0, -1) if not psutil.pid_exists(number))
    for text, expected in (
        (note.format(os.getpid(), datetime.now()), True),
        (note.format(os.getpid(), began - timedelta(minutes=1)), False),
        (note.format(unused, datetime.now()), False),
        ("process 1", False),
        (f"process {'9' * 30} since 2026-01-01 00:00:00", False),
    ):
        (run / ".owner").write_text(f"{text}\n{run}", encoding="utf-8")
        assert run_list.is_training(run) is expected, text
    (run / ".owner").write_bytes(b"\xff")
    assert not run_list.is_training(run)


def test_a_copy_of_a_run_that_is_trained_is_not(tmp_path: Path):
    run = write_run(tmp_path / "run", [START])
    with lock_run(run):
        shutil.copytree(run, tmp_path / "copy")
        assert run_list.is_training(run)
        assert not run_list.is_training(tmp_path / "copy")


def test_looking_never_takes_the_lock(tmp_path: Path):
    write_run(tmp_path / "run", [START])
    with lock_run(tmp_path / "run"):
        look(RunList(tmp_path))
    with lock_run(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / ".owner").exists()


def test_progress_speed_and_time_left(tmp_path: Path):
    quick = [train_event(step) for step in range(10, 60, 10)]
    run = write_run(tmp_path / "run", [START, *quick])
    with lock_run(run):
        row = look(RunList(tmp_path))["run"]
    assert (row["step"], row["steps"], row["epoch"], row["epochs"]) == (50, 140, 1.25, 3.5)
    assert row["seconds"] == 5.0
    assert row["seconds_left"] == pytest.approx(0.1 * 90)
    assert row["images_per_second"] == 500.0
    slow = [replace(train_event(step), time=5 + (step - 50) * 0.5) for step in range(51, 111)]
    append(run, slow)  # as a busy machine: only the last fifty decide
    with lock_run(run):
        assert look(RunList(tmp_path))["run"]["seconds_left"] == pytest.approx(0.5 * 30)
    assert look(RunList(tmp_path))["run"]["seconds_left"] is None
    append(run, [Event("start", 110, 40.0, {**START.data, "resumed": True}), replace(train_event(120), time=41.0)])
    with lock_run(run):
        assert look(RunList(tmp_path))["run"]["seconds_left"] == pytest.approx(0.1 * 20)


def test_phases_are_planned_until_they_are_told(tmp_path: Path):
    first = {"index": 0, "optimizer": "adam", "first_step": 0, "last_step": 80}
    run = write_run(tmp_path / "run", [START, Event("phase", 0, 1.5, first), train_event(10)])
    expected = {**first, "name": "Adam", "first_epoch": 0.0, "last_epoch": 2.0, "first_time": 1.5}
    later = {
        "index": 1,
        "optimizer": "sgd",
        "name": "SGD",
        "first_step": 80,
        "last_step": 140,
        "first_epoch": 2.0,
        "last_epoch": 3.5,
    }
    assert look(RunList(tmp_path))["run"]["phases"] == [expected, {**later, "first_time": None}]
    append(run, [Event("phase", 80, 9.0, {"index": 1, "optimizer": "sgd", "first_step": 80, "last_step": 140})])
    assert look(RunList(tmp_path))["run"]["phases"] == [expected, {**later, "first_time": 9.0}]
    (run / "run.json").unlink()
    assert look(RunList(tmp_path))["run"]["phases"] == [expected, {**later, "first_time": 9.0}]


def test_figures_are_the_newest_known(tmp_path: Path):
    run = write_run(tmp_path / "run", [START, train_event(10)])
    figures = look(RunList(tmp_path))["run"]["figures"]
    assert figures == {
        "train_accuracy": pytest.approx(0.01),
        "test_accuracy": None,
        "train_loss": pytest.approx(3 / 11),
        "test_loss": None,
    }
    append(run, [eval_event(40), train_event(50)])
    assert look(RunList(tmp_path))["run"]["figures"]["test_accuracy"] == pytest.approx(0.04)
    append(run, [end_event(50, "interrupted")])
    assert look(RunList(tmp_path))["run"]["figures"]["test_accuracy"] == pytest.approx(0.04)
    append(run, [end_event(60)])
    assert look(RunList(tmp_path))["run"]["figures"] == {key: end_event(60).data[key] for key in figures}


def test_alarms_are_told_with_the_step_at_which_they_began(tmp_path: Path):
    silent = {"what": "silent channels", "layer": "conv1", "message": "9 of 32 channels of conv1 answer to nothing"}
    write_run(tmp_path / "run", [START, Event("alarm", 7, 0.7, silent), train_event(10), NAN])
    assert look(RunList(tmp_path))["run"]["alarms"] == [
        {"step": 7, "time": 0.7, **silent},
        {"step": 20, "time": 2.0, "layer": None, **NAN.data},
    ]


def test_what_is_no_whole_run_is_said(tmp_path: Path):
    write_run(tmp_path / "no-config", [START, train_event(10)])
    (tmp_path / "no-config" / "run.json").unlink()
    write_run(tmp_path / "torn-config", [START])
    (tmp_path / "torn-config" / "run.json").write_text('{"format": 1, "recipe"')
    write_run(tmp_path / "no-log", [])
    (tmp_path / "no-log" / "events.jsonl").unlink()
    write_run(tmp_path / "other", [START], {"format": 99})
    write_run(tmp_path / "lines", [START, train_event(10)])
    with (tmp_path / "lines" / "events.jsonl").open("ab") as file:
        file.write(b"\x00\x00\n{torn\n")
    (tmp_path / "no run at all").mkdir()
    rows = look(RunList(tmp_path))
    assert set(rows) == {"no-config", "torn-config", "no-log", "other", "lines"}
    assert rows["no-config"]["message"] == "run.json is missing: copied by half, or still being"
    assert rows["no-config"]["step"] == 10
    assert "torn-config/run.json cannot be read" in rows["torn-config"]["message"]
    assert rows["other"]["message"].endswith(
        "has format 99; this convscope reads 1; a newer one reads it: pip install --upgrade convscope"
    )
    assert {rows[name]["status"] for name in ("no-config", "torn-config", "other")} == {"damaged"}
    assert (rows["no-log"]["status"], rows["no-log"]["message"]) == ("stopped", "nothing in its log yet")
    assert (rows["lines"]["status"], rows["lines"]["step"]) == ("stopped", 10)
    assert rows["lines"]["message"] == "2 damaged lines of events.jsonl left out"


def test_a_run_that_is_whole_again_is_no_longer_damaged(tmp_path: Path):
    run = write_run(tmp_path / "run", [START])
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text[:50])
    runs = RunList(tmp_path)
    assert look(runs)["run"]["status"] == "damaged"
    (run / "run.json").write_text(text)
    assert look(runs)["run"]["status"] == "stopped"


WEIRD = (None, 7, -1.5, True, "x", [], ["x"], [None], {}, {"a": 1}, 10**15)


def paths_in(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value within JSON."""
    inner: Mapping[Any, Any] = value if isinstance(value, dict) else {}
    inner = dict(enumerate(value)) if isinstance(value, list) else inner
    return [before, *(path for key, each in inner.items() for path in paths_in(each, (*before, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """JSON with one value replaced."""
    if not path:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def test_no_value_in_either_file_is_too_odd_to_be_listed(tmp_path: Path):
    phase = {"index": 0, "optimizer": "adam", "first_step": 0, "last_step": 80}
    events = [vars(START), vars(Event("phase", 0, 0.0, phase)), vars(NAN), vars(eval_event(20)), vars(end_event(30))]
    runs = RunList(tmp_path)
    run = write_run(tmp_path / "run", [])
    for path in paths_in(CONFIG):
        for weird in WEIRD:
            (run / "run.json").write_text(json.dumps(changed(CONFIG, path, weird)))
            run_list.WatchedRun(run, "run").look()
            assert look(runs)["run"]["name"] == "run"
    for path in paths_in(events)[1:]:
        for weird in WEIRD:
            lines = changed(events, path, weird)
            (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            row = look(RunList(tmp_path))["run"]
            assert isinstance(row["step"], int | float)
            assert all(isinstance(alarm["message"], str | None) for alarm in row["alarms"])


def test_names_are_texts_whatever_the_folders_are_called(tmp_path: Path):
    names = ["<script>alert(1)</script>".replace("/", "∕"), "a b'\"&;\n", "..hidden", "日本"]
    for name in names:
        write_run(tmp_path / name, [START])
    odd = os.fsdecode(os.fsencode(str(tmp_path)) + b"/odd\xff")
    shutil.copytree(tmp_path / "日本", odd)
    assert set(look(RunList(tmp_path))) == {*names, "odd?"}
    assert set(look(RunList(Path(odd)))) == {"odd?"}


def test_runs_are_found_a_folder_deeper_and_a_run_folder_is_its_own_list(tmp_path: Path):
    write_run(tmp_path / "alone", [START])
    write_run(tmp_path / "seeds" / "0", [START])
    write_run(tmp_path / "seeds" / "1", [START])
    write_run(tmp_path / "alone" / "pictures", [START])
    assert set(look(RunList(tmp_path))) == {"alone", "seeds/0", "seeds/1"}
    assert set(look(RunList(tmp_path / "alone"))) == {"alone"}
    assert look(RunList(tmp_path / "missing")) == {}
    assert len(set(RunList(tmp_path).runs)) == 0


def test_a_run_that_was_started_last_comes_first(tmp_path: Path):
    for name, started in (("a", "2026-03-01T10:00:00+00:00"), ("b", "2026-03-01T12:00:00+00:00"), ("c", "no date")):
        write_run(tmp_path / name, [START], {"started": started})
    assert list(look(RunList(tmp_path))) == ["b", "a", "c"]


def test_a_deleted_run_is_gone_and_known_to_be(tmp_path: Path):
    write_run(tmp_path / "a", [START])
    write_run(tmp_path / "b", [START])
    runs = RunList(tmp_path)
    look(runs)
    key = run_list.run_id(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    assert set(look(runs)) == {"b"}
    assert runs.gone == {key: "a"}
    write_run(tmp_path / "a", [START, train_event(10)])
    assert look(runs)["a"]["step"] == 10


def test_only_what_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(20):
        write_run(tmp_path / str(number), [START, train_event(10)])
    runs = RunList(tmp_path)
    look(runs)
    read: list[str] = []
    config, described = run_list.read_config, run_list.describe_run
    monkeypatch.setattr(run_list, "read_config", lambda path: read.append(path.name) or config(path))
    monkeypatch.setattr(run_list, "describe_run", lambda *a, **k: read.append("described") or described(*a, **k))
    look(runs)
    assert read == []
    append(tmp_path / "7", [train_event(20)])
    assert look(runs)["7"]["step"] == 20
    assert read == ["described"]
