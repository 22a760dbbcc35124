"""A log that is followed gives the columns of a log that is read whole, whatever happens to it meanwhile."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.training import log_parts
from convscope.training.log_parts import parse_lines
from convscope.types import Event
from convscope.web.dashboard.run_log import RunLog
from tests.web.served import START, append, columns_by_hand, end_event, eval_event, train_event, write_run

EVENTS = [START, *(train_event(step) for step in range(10, 90, 10)), eval_event(80), train_event(90)]
EVENTS += [Event("film", 90, 9.0, {"weights": True}), Event("checkpoint", 90, 9.0, {"name": "é"}), end_event(90)]


def follow(log: RunLog) -> int:
    """Read all there is; how many parts it was."""
    parts = 0
    before = log.position, log.generation
    while part := log.read():
        assert part.start == before[0] or before[1] != log.generation or not part.start
        before = part.end, log.generation
        parts += 1
    assert log.caught_up
    return parts


def rows_of(log: RunLog) -> dict[str, dict[str, list[float]]]:
    columns = log.snapshot()[2]
    return {kind: {name: values.tolist() for name, values in table.items()} for kind, table in columns.items()}


def rounded(columns: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, list[float]]]:
    """The slow columns, in the precision of the quick ones."""
    types = {kind: log_parts.empty_columns(kind) for kind in columns}
    return {
        kind: {name: np.array(values, types[kind][name].dtype).tolist() for name, values in table.items()}
        for kind, table in columns.items()
    }


def assert_like_file(log: RunLog) -> None:
    assert rows_of(log) == rounded(columns_by_hand(log.path.read_bytes()))


def test_columns_equal_those_read_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = write_run(tmp_path / "run", EVENTS)
    log = RunLog(run / "events.jsonl")
    assert follow(log) == 1
    assert_like_file(log)
    assert log.rows == 9
    assert log.position == (run / "events.jsonl").stat().st_size
    assert [event["kind"] for event in log.told("film")] == ["film"]
    assert log.newest
    assert log.newest["data"]["reason"] == "finished"
    assert log.measured["eval"]["test_accuracy"] == pytest.approx(0.08)
    monkeypatch.setattr(log_parts, "CHUNK", 700)
    again = RunLog(run / "events.jsonl")
    assert follow(again) > 3
    assert rows_of(again) == rows_of(log)
    assert again.generation == log.generation
    assert list(again.recent) == list(log.recent) == [(step, step * 0.1) for step in range(0, 100, 10)]


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path):
    run = write_run(tmp_path / "run", EVENTS[:3])
    log = RunLog(run / "events.jsonl")
    follow(log)
    line = json.dumps({"kind": "train", "step": 30, "time": 3, "data": {"epoch": 0.7, "loss": 1}}).encode() + b"\n"
    with log.path.open("ab") as file:
        for number in range(len(line)):
            file.write(line[number : number + 1])
            file.flush()
            assert follow(log) == (number == len(line) - 1)
    assert rows_of(log)["train"]["step"] == [10, 20, 30]
    assert log.damaged == 0


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 3000), max_size=8))
def test_wherever_it_is_looked_at_while_it_is_written_the_columns_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
):
    whole = write_run(tmp_path_factory.mktemp("whole"), EVENTS) / "events.jsonl"
    data = whole.read_bytes()
    part = tmp_path_factory.mktemp("part") / "events.jsonl"
    log = RunLog(part)
    for end in [*sorted(cuts), len(data)]:
        with part.open("ab") as file:
            file.write(data[file.tell() : end])
        follow(log)
    assert_like_file(log)
    assert log.damaged == 0


@pytest.mark.parametrize("kept", [0, 1, 4, 9, 10])
def test_a_log_cut_by_a_resumption_is_read_again(tmp_path: Path, kept: int):
    run = write_run(tmp_path / "run", EVENTS[:11])
    log = RunLog(run / "events.jsonl")
    follow(log)
    generation = log.generation
    lines = log.path.read_bytes().splitlines(keepends=True)
    resumed = Event("start", 10 * kept, 1.0, {**START.data, "resumed": True, "filler": "x" * 3000})
    append(run, [resumed, train_event(500)], keep_bytes=sum(map(len, lines[:kept])))
    follow(log)
    assert_like_file(log)
    assert log.generation != generation
    assert log.damaged == 0
    assert rows_of(log)["train"]["step"][-1] == 500


def test_a_cut_is_noticed_though_the_log_is_as_long_as_before(tmp_path: Path):
    run = write_run(tmp_path / "run", EVENTS[:5])
    log = RunLog(run / "events.jsonl")
    follow(log)
    data = log.path.read_bytes()
    log.path.write_bytes(data.replace(b'"step": 40', b'"step": 41'))
    assert log.path.stat().st_size == len(data)
    os.utime(log.path, ns=(1, 1))
    follow(log)
    assert_like_file(log)


def test_a_resumption_that_cuts_nothing_is_another_generation(tmp_path: Path):
    run = write_run(tmp_path / "run", EVENTS[:5])
    log = RunLog(run / "events.jsonl")
    follow(log)
    generation = log.generation
    append(run, [train_event(50)])
    follow(log)
    assert log.generation == generation
    append(run, [Event("start", 50, 5.0, {**START.data, "resumed": True})])
    follow(log)
    assert log.generation != generation
    assert list(log.recent) == [(50, 5.0)]  # the speed before says nothing of the speed now


def test_a_replaced_and_a_deleted_log_begin_anew(tmp_path: Path):
    run = write_run(tmp_path / "run", EVENTS)
    log = RunLog(run / "events.jsonl")
    follow(log)
    first = log.generation
    other = write_run(tmp_path / "other", EVENTS[:4])
    os.replace(other / "events.jsonl", log.path)
    follow(log)
    assert_like_file(log)
    second = log.generation
    log.path.unlink()
    follow(log)
    assert (log.rows, log.position, log.newest, log.trouble) == (0, 0, None, "")
    write_run(run, EVENTS)
    follow(log)
    assert_like_file(log)
    assert len({first, second, log.generation}) == 3


def test_a_log_that_is_no_file_is_trouble_in_one_line(tmp_path: Path):
    (tmp_path / "events.jsonl").mkdir()
    log = RunLog(tmp_path / "events.jsonl")
    follow(log)
    assert log.trouble == "events.jsonl cannot be read: Is a directory"
    shutil.rmtree(tmp_path / "events.jsonl")
    follow(log)
    assert log.trouble == ""


DAMAGE = [
    b"",
    b"?",
    b"null",
    b"[]",
    b"\x00\x00\x00",
    b"\xff\xfe{}",
    b'{"kind": "train", "step": 5, "time": 1}',
    b'{"kind": "train", "step": "5x", "time": 1, "data": {}}',
    b'{"kind": "train", "step": null, "time": 1, "data": {}}',
    b'{"kind": "train", "step": 5, "time": 1, "data": {"loss": NaN}}',
    b'{"kind": "train", "step": 5, "time": 1, "data": {"loss": [1]}}',
    b'{"kind": "train", "step": 5, "time": 1, "data": []}',
    b'{"kind": "eval", "step": 5, "time": 1, "data": {"test_loss": {}}}',
    b'{"kind": "alarm", "step": null, "time": 1, "data": {}}',
    b'{"kind": 7, "step": 1, "time": 1, "data": {}}',
    b'{"kind": "end", "step": 5, "time": 1, "data": {}},{"kind": "end", "step": 5, "time": 1, "data": {}}',
    b'{"kind": "end", "step": 5, "time": 1, "data": {}',
    b'{"kind": "tr{"kind": "end", "step": 5, "time": 1, "data": {}}',
]


@pytest.mark.parametrize("line", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_line_is_counted_and_harms_no_other(tmp_path: Path, line: bytes):
    run = write_run(tmp_path / "run", EVENTS[:5])
    log = RunLog(run / "events.jsonl")
    with log.path.open("ab") as file:
        file.write(line + b"\n")
    append(run, EVENTS[5:])
    follow(log)
    assert log.damaged == 1
    assert rows_of(log)["train"]["step"] == [10.0 * step for step in range(1, 10)]
    assert dict(log.confusions(100)) == {80: [[80, 0], [1, 2]]}  # found by its place after the damage


def test_two_lines_that_only_together_are_an_event_are_both_damaged():
    part = parse_lines(b'{"kind": "end", "step": 1\n"time": 1, "data": {}}\n', 0)
    assert (part.damaged, part.others) == (2, [])


def test_two_events_on_one_line_are_one_damaged_line():
    event = b'{"kind": "train", "step": 5, "time": 1, "data": {}}'
    part = parse_lines(event + b"\n" + event + b"," + event + b"\n", 0)
    assert (part.damaged, part.columns["train"]["step"].tolist()) == (1, [5])


def test_a_line_without_end_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_parts, "CHUNK", 64)
    monkeypatch.setattr(log_parts, "LONGEST", 256)
    run = write_run(tmp_path / "run", [])
    log = RunLog(run / "events.jsonl")
    log.path.write_bytes(b"x" * 1000 + b"\n")
    append(run, EVENTS[1:3])
    monkeypatch.setattr(log_parts, "LONGEST", 512)
    follow(log)
    assert log.damaged > 0
    assert rows_of(log)["train"]["step"] == [10, 20]


def test_numbers_that_an_event_lacks_are_not_numbers(tmp_path: Path):
    (tmp_path / "events.jsonl").write_bytes(
        b'{"kind": "train", "step": 5, "time": 1, "data": {"loss": null, "accuracy": 1}}\n'
    )
    log = RunLog(tmp_path / "events.jsonl")
    follow(log)
    train = log.snapshot()[2]["train"]
    assert log.damaged == 0
    assert train["accuracy"].tolist() == [1]
    assert np.isnan([train[name][0] for name in ("epoch", "loss", "learning_rate")]).all()


def test_forgotten_columns_are_read_again_as_far_as_the_log_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_parts, "CHUNK", 700)
    run = write_run(tmp_path / "run", EVENTS)
    log = RunLog(run / "events.jsonl")
    follow(log)
    rows = rows_of(log)
    log.forget()
    assert not log.remembers
    append(run, [train_event(100)])
    assert rows_of(log) == rows
    log.forget()
    follow(log)
    assert_like_file(log)
    assert log.rows == 10


def test_confusion_matrices_are_those_up_to_a_step_the_newest_first(tmp_path: Path):
    older = eval_event(40)
    older = Event(older.kind, older.step, older.time, {k: v for k, v in older.data.items() if k != "confusion"})
    run = write_run(tmp_path / "run", [START, eval_event(20), older, train_event(50), eval_event(60)])
    log = RunLog(run / "events.jsonl")
    follow(log)
    assert list(log.confusions(59)) == [(40, None), (20, [[20, 0], [1, 2]])]
    assert next(log.confusions(10**15)) == (60, [[60, 0], [1, 2]])
    assert list(log.confusions(10)) == []
