"""The run folder: one training at a time, nothing overwritten, damage named."""

import json
import os
import subprocess
import sys

import pytest

from convscope.errors import BusyError, CheckpointError, ResourceError, UsageError
from convscope.training.folder import (
    FORMAT,
    KEYS,
    EventLog,
    create_run,
    find_run,
    lock_run,
    new_run_path,
    read_config,
    read_events,
)
from convscope.types import Event


def config(started: str) -> dict:
    return dict.fromkeys(KEYS) | {"format": FORMAT, "started": started}


def test_the_second_training_names_the_first(tmp_path):
    with lock_run(tmp_path):
        code = (
            "import sys; from pathlib import Path; from convscope.training.folder import lock_run\n"
            f"with lock_run(Path({str(tmp_path)!r})): pass"
        )
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"BusyError: {tmp_path} is being trained by process {os.getpid()} since" in second.stderr
        with pytest.raises(BusyError) as caught, lock_run(tmp_path):
            pass
        assert caught.value.exit_code == 7
    with lock_run(tmp_path):
        pass


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from convscope.training.folder import lock_run\n"
        f"with lock_run(Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with lock_run(tmp_path):
        pass


def test_a_run_is_never_overwritten(tmp_path):
    create_run(tmp_path / "a", config("2026-01-01"))
    with pytest.raises(UsageError, match=r"holds a run already; go on with: convscope resume"):
        create_run(tmp_path / "a", {})
    assert read_config(tmp_path / "a") == config("2026-01-01")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write to .*name another folder with --out"):
        create_run(tmp_path / "file" / "run", {})
    with pytest.raises(ResourceError), lock_run(tmp_path / "file" / "run"):
        pass


def test_latest_is_the_one_started_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r'no run in runs/, so there is no "latest"; make one: convscope run digits'):
        find_run("latest")
    times = {"b": "2026-01-03T01:00:00+02:00", "a": "2026-01-02T23:30:00+00:00", "c": "2026-01-01T00:00:00+00:00"}
    for name, started in times.items():
        create_run(tmp_path / "runs" / name, config(started))
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "run.json").write_text("{")
    create_run(tmp_path / "runs" / "undated", config("yesterday"))
    create_run(tmp_path / "runs" / "numbered", config(3))
    assert find_run("latest").name == "a"
    assert find_run("runs/c").name == "c"
    with pytest.raises(UsageError, match=r'"nowhere" is no run folder .*; allowed: latest or a folder; in runs/: '):
        find_run("nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "has format 'list'; this convscope reads 1"),
        (
            '{"format": 99}',
            "has format 99; this convscope reads 1; a newer one reads it: pip install --upgrade convscope",
        ),
        (
            '{"format": 99, "versions": {"convscope": "9.9"}}',
            "has format 99, written by convscope 9.9; this convscope",
        ),
        ('{"format": 1}', 'lacks "command": it is damaged'),
    ],
)
def test_a_damaged_run_json_is_named(text, message, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_config(tmp_path)


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / "events.jsonl").write_text("{}\nnonsense\n")
    with pytest.raises(CheckpointError, match="events.jsonl is damaged"):
        read_events(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_under_the_log(tmp_path):
    log = EventLog(tmp_path)
    os.dup2(os.open("/dev/full", os.O_WRONLY), log._file.fileno())
    with pytest.raises(ResourceError, match="cannot write the event log: No space left"):
        log.append(Event("train", 1, 1.0, {}))
    log.close()


def test_a_line_that_the_disk_takes_in_parts_is_written_whole(tmp_path):
    log = EventLog(tmp_path)
    log._file = Sparing(log._file)
    log.append(Event("train", 1, 1.0, {"text": "ä" * 100}))
    log.close()
    assert read_events(tmp_path) == [Event("train", 1, 1.0, {"text": "ä" * 100})]


class Sparing:
    """A file that takes ten bytes at a time."""

    def __init__(self, file):
        self.file = file

    def write(self, data):
        return self.file.write(data[:10])

    def close(self):
        self.file.close()


def test_new_paths_are_free_and_plain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = new_run_path("folder:my photos/../x", "fast")
    first.mkdir(parents=True)
    second = new_run_path("folder:my photos/../x", "fast")
    assert first != second
    assert first.parent == second.parent
    assert first.parent.name == "runs"


def test_the_log_keeps_what_its_checkpoint_knew(tmp_path):
    log = EventLog(tmp_path)
    events = [Event("train", step, step / 2, {"loss": 0.5, "name": "Ünï"}) for step in range(4)]
    for event in events[:2]:
        log.append(event)
    known = log.sync()
    for event in events[2:]:
        log.append(event)
    log.close()
    assert read_events(tmp_path) == events
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"kind": "tra')  # cut off by a kill
    assert read_events(tmp_path) == events
    log = EventLog(tmp_path, keep_bytes=known)
    log.append(events[3])
    log.close()
    assert read_events(tmp_path) == [*events[:2], events[3]]
    assert all(json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines())
