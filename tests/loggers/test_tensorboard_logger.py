"""A real TensorBoard reads what is written: its own reader, and once its server over HTTP."""

import errno
import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.loggers.conftest import LAST, LOSSES
from tests.patience import PATIENCE, soon

pytest.importorskip("tensorboard", reason="pip install 'convscope[tensorboard]'")


def accumulated(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    return found


def texts(found, tag):
    return [(one.step, one.tensor_proto.string_val[0].decode()) for one in found.Tensors(f"{tag}/text_summary")]


def test_texts_settings_and_final_figures(run):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run.first_session("tensorboard")
    run.second_session("tensorboard")
    found = accumulated(run)
    assert texts(found, "phases") == [(0, "phase 1: adam, learning rate 0.1, constant, steps 0 to 100")]
    assert texts(found, "alarms") == [(40, "3 of the 4 channels of relu are silent")]
    assert '"name": "planted"' in texts(found, "run.json")[0][1]
    assert [(one.step, one.value) for one in found.Scalars("final/test_accuracy")] == [(LAST, 0.25)]
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["recipe.phases.0.optimizer"].string_value == "adam"
    assert settings["seed"].number_value == 3


def test_times_are_those_of_the_training(run):
    run.first_session("tensorboard")
    began = 1767323045  # run.json's "started"
    assert [one.wall_time for one in accumulated(run).Scalars("loss/batches")] == [
        began + step / 10 for step in range(10, 81, 10)
    ]


def test_what_was_written_but_not_remembered_is_no_double(run):
    run.first_session("tensorboard", last=30)
    memory = (run.path / "loggers" / "tensorboard.json").read_bytes()
    run.first_session("tensorboard")
    (run.path / "loggers" / "tensorboard.json").write_bytes(memory)  # as if killed before it was
    run.second_session("tensorboard")
    assert [(one.step, one.value) for one in accumulated(run).Scalars("loss/batches")] == [
        (step, pytest.approx(loss)) for step, loss in LOSSES
    ]


def test_files_that_were_removed_are_written_anew(run):
    run.first_session("tensorboard")
    for path in (run.path / "tensorboard").iterdir():
        path.unlink()
    run.second_session("tensorboard")
    assert [one.step for one in accumulated(run).Scalars("loss/batches")] == [step for step, _ in LOSSES]


def test_a_full_disk_is_said_in_one_line(run, monkeypatch):
    whole = Path.open

    def full(path, mode="r", *options, **more):
        if "tfevents" in path.name and mode == "ab":
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, mode, *options, **more)

    monkeypatch.setattr(Path, "open", full)
    assert run.first_session("tensorboard")[-1].step == 80
    reason = "OSError: [Errno 28] No space left on device"
    assert run.said == [f"tensorboard failed and is left out from here on: {reason}"]


def test_the_real_server_shows_the_curve(run):
    run.first_session("tensorboard")
    run.second_session("tensorboard")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "tensorboard.main", "--logdir", run.path.parent]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--host", "127.0.0.1"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        address = (
            f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?tag=loss%2Fbatches&run=planted-tiny%2Ftensorboard"
        )

        def asked() -> list:
            assert server.poll() is None
            try:
                with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                    return json.load(answer)
            except OSError:
                return []

        rows = soon(lambda: len(found := asked()) >= len(LOSSES) and found)
    finally:
        server.terminate()
        server.wait()
    assert [(step, value) for _, step, value in rows] == [(step, pytest.approx(loss)) for step, loss in LOSSES]
