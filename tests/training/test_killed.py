"""A training in a process of its own that is killed or told to stop; the same run goes on to the same weights."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convscope.training.run import open_run
from tests.called import call
from tests.patience import PATIENCE, soon

TRAIN = ["train", "digits", "--model", "resnet8", "--recipe", "adam-then-sgd", "--quiet", "--set", "batch_size=64"]
TRAIN += ["--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1"]


def start(out: Path) -> subprocess.Popen[str]:
    """The training as a process, which computes with as many threads as this one."""
    command = [sys.executable, "-m", "convscope", *TRAIN, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def kill_at(out: Path, bytes_of_log: int) -> None:
    """Start a training and kill -9 it when its log has grown to so many bytes."""
    log = out / "events.jsonl"
    with start(out) as child:
        soon(lambda: child.poll() is not None or (log.exists() and log.stat().st_size >= bytes_of_log))
        child.kill()


def killed_and_resumed(tmp_path: Path, kills: int) -> tuple[dict, list[dict]]:
    """The results of a run left alone, and of as many killed at random moments and resumed."""
    assert call(*TRAIN, "--out", tmp_path / "whole") == 0
    length = (tmp_path / "whole" / "events.jsonl").stat().st_size
    dice = random.Random(0)
    results = []
    for index in range(kills):
        out = tmp_path / f"killed-{index}"
        kill_at(out, dice.randrange(1, length))
        assert call("resume", out, "--quiet") == 0
        results.append(open_run(str(out)).results())
    return open_run(str(tmp_path / "whole")).results(), results


def test_killed_and_resumed_ends_with_the_same_weights(tmp_path):
    whole, (killed,) = killed_and_resumed(tmp_path, 1)
    assert killed["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_20_random_moments(tmp_path):
    whole, killed = killed_and_resumed(tmp_path, 20)
    assert [result["weights_sha256"] for result in killed] == [whole["weights_sha256"]] * 20


def test_sigterm_saves_and_exits_with_143(tmp_path):
    child = start(tmp_path / "run")
    soon(lambda: (tmp_path / "run" / "checkpoints" / "step-000000000").exists() or child.poll() is not None)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 143
    assert "saved; go on with: convscope resume" in said
    assert "Traceback" not in said
    assert os.listdir(tmp_path / "run" / "checkpoints")
