"""A fifth of the hostile files, without the bombs, and that the payloads would run if anyone let them."""

import pickle
import random

from tests.faults.harness import Tally
from tests.faults.hostile import files_outside, hostile_archives, hostile_runs, hostile_weights, sandbox, trials
from tests.faults.payloads import CallsSystem, has_run

SLOW = ("bomb", "390 MB", "half a million")


def test_hostile_files_are_refused_and_do_nothing(tmp_path):
    with sandbox(tmp_path) as place:
        assert hostile_archives.fault_of_sound(place) == ""
        assert hostile_runs.fault_of_sound(place) == ""
        assert hostile_weights.fault_of_sound(place) == ""
        outside = files_outside(tmp_path)
        tally = Tally("hostile")
        for kind, name, fault_of in trials(random.Random(0), place)[::5]:
            if not any(word in name for word in SLOW):
                tally.count(kind, f"{name}: {fault}" if (fault := fault_of()) else "")
        assert not has_run()
        assert files_outside(tmp_path) == outside
    assert tally.failures == []
    assert sum(tried for tried, _ in tally.rows.values()) > 30


def test_there_are_enough_of_them(tmp_path):
    kinds = [kind for kind, _, _ in trials(random.Random(0), tmp_path)]
    assert kinds.count("archives") + kinds.count("shards") >= 60
    assert kinds.count("safetensors") + kinds.count(".pt files") >= 100


def test_a_payload_is_seen_when_it_runs(tmp_path):
    with sandbox(tmp_path):
        pickle.loads(pickle.dumps(CallsSystem()))
        assert has_run()
