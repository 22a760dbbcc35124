"""A few of each fault, by the functions with which scripts/soak tries many."""

import os
import sys

import pytest

from tests.faults import interruptions, lost_ranks
from tests.faults.bits import bits
from tests.faults.interruptions import not_finite, out_of_memory, signals
from tests.faults.kills import kills
from tests.faults.lost_ranks import ranks
from tests.faults.old_runs import old_runs
from tests.faults.saves import saves
from tests.patience import PATIENCE

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not os.path.isdir("/proc/self/fd"), reason="forks, signals and /proc"
)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """How soon a fault ends a command is counted by scripts/soak, which has the machine for itself."""
    monkeypatch.setattr(interruptions, "MOST_SECONDS", PATIENCE)
    monkeypatch.setattr(lost_ranks, "MOST_SECONDS", PATIENCE)


def all_held(tally, tried):
    assert not tally.failures, str(tally)
    assert sum(row[0] for row in tally.rows.values()) == tried


def test_kill_9(tmp_path):
    all_held(kills(tmp_path, count=12), 12)


def test_a_disk_that_refuses(tmp_path):
    all_held(saves(tmp_path, count=12), 12 + 5)  # and the order of the five saves themselves


def test_damaged_checkpoints(tmp_path):
    all_held(bits(tmp_path, count=120, resumed=1), 121)


def test_nan(tmp_path):
    all_held(not_finite(tmp_path, count=5), 5)


def test_out_of_memory(tmp_path):
    all_held(out_of_memory(tmp_path, count=8), 8)


def test_ctrl_c_and_sigterm(tmp_path):
    all_held(signals(tmp_path, count=4), 4)


def test_a_lost_rank(tmp_path):
    all_held(ranks(tmp_path, count=3, impatient=True), 3)


def test_runs_of_older_releases(tmp_path):
    all_held(old_runs(tmp_path), 12)
