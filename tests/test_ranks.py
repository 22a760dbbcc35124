"""Ranks: four processes compute what one computes, and one that is lost ends the others by name."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import distributed as dist

from convscope import rank_watch, ranks
from convscope.errors import Interrupted, RankLost, UsageError, in_one_line
from convscope.rank_watch import RankWatch
from convscope.ranks import ALONE, Ranks
from tests.faults.harness import CONTEXT, start_server
from tests.faults.lost_ranks import meeting
from tests.patience import PATIENCE, soon
from tests.ranks_together import everything, write_everything, write_threads_after_interruption

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def meeting_place() -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def by_ranks(count: int, context: Any, write: Callable[[Mapping[str, str], Path], None], folder: Path) -> list[Any]:
    """What each of so many ranks wrote down."""
    store = meeting_place()
    given = [(meeting(rank, count, store.port), folder) for rank in range(count)]
    processes = [context.Process(target=write, args=each, daemon=True) for each in given]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(count)]


@pytest.fixture(scope="module")
def by_four(tmp_path_factory):
    """What each of four ranks came to."""
    start_server()
    return by_ranks(4, CONTEXT, write_everything, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def by_one():
    return everything(ALONE)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_gradients_are_those_of_the_whole_batch(by_four, by_one):
    for name, gradient in by_one["gradients"].items():
        torch.testing.assert_close(by_four[0]["gradients"][name], gradient, rtol=1e-12, atol=1e-14)


def test_a_training_ends_within_rounding_of_one_by_one_process_and_alike_on_all_ranks(by_four, by_one):
    for name, value in by_one["trained"]["weights"].items():
        torch.testing.assert_close(by_four[0]["trained"]["weights"][name], value, rtol=1e-5, atol=1e-7)
        assert all(
            torch.equal(other["trained"]["weights"][name], by_four[0]["trained"]["weights"][name])
            for other in by_four
        )
    for ours, theirs in zip(by_four[0]["trained"]["figures"], by_one["trained"]["figures"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_an_evaluation_comes_to_the_same_number(by_four, by_one):
    assert by_four[2]["evaluated"]["loss"] == by_one["evaluated"]["loss"]
    assert by_four[2]["evaluated"]["accuracy"] == by_one["evaluated"]["accuracy"]
    assert torch.equal(by_four[2]["evaluated"]["confusion"], by_one["evaluated"]["confusion"])


def test_a_survey_keeps_the_same_images_and_counts_the_same(by_four, by_one):
    for layer, alone in by_one["surveyed"].items():
        shared = by_four[3]["surveyed"][layer]
        for name in ("images", "positions", "histogram", "dead", "twins", "selective_class", "map_size"):
            assert torch.equal(shared[name], alone[name]), (layer, name)
        for name in (
            "values",
            "means",
            "shares_of_zeros",
            "class_means",
            "selectivity",
            "histogram_range",
            "likeness",
        ):
            np.testing.assert_allclose(shared[name], alone[name], rtol=1e-5, atol=1e-6, err_msg=f"{layer} {name}")


def test_what_ranks_tell_each_other(by_four):
    talk = by_four[1]["talk"]
    assert talk["gathered"].tolist() == [[0, 1], [1, 1], [2, 1], [3, 1]]
    assert talk["sum"].tolist() == [6, 4]
    assert talk["agreed"] == (True, False)
    assert (talk["told"], talk["nothing"]) == ("by the leader", "")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc names the threads")
def test_no_thread_of_the_group_is_left_that_could_ask_for_the_interpreter_while_it_ends(by_four, tmp_path):
    assert [each["threads"] for each in by_four] == [[]] * 4
    fresh = get_context("spawn")  # where torch has not yet imported what takes the group for a default
    for before, after in by_ranks(2, fresh, write_threads_after_interruption, tmp_path):
        assert before
        assert after == []


def test_shares_are_as_equal_as_can_be_and_nothing_is_left_out():
    for count in range(1, 9):
        shares = [range(50)[Ranks(rank, count).share(50)] for rank in range(count)]
        assert [item for share in shares for item in share] == list(range(50))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


class Pair:
    """Makes the watches of two ranks, by a clock that goes on when it is told; who would end is noted instead."""

    def __init__(self, ended: list[int]) -> None:
        self.ended = ended
        self.store = meeting_place()
        self.watches: list[RankWatch] = []
        self.now = 0.0

    def __call__(self, rank: int) -> RankWatch:
        self.watches.append(RankWatch(self.store, rank, 2))
        return self.watches[-1]

    def beats(self, rank: int) -> int:
        return int(self.store.get(f"convscope/beat/{rank}").split()[-1])

    def beat(self, rank: int) -> None:
        """Wait until a rank has listened, from beginning to end."""
        before = self.beats(rank)
        soon(lambda: self.beats(rank) > before + 1)

    def let_time_pass(self) -> None:
        """After which whoever has said nothing new is silent."""
        self.now += rank_watch.SILENT_SECONDS + rank_watch.BEAT_SECONDS

    def lose(self, last_words: str) -> None:
        """Let rank 0 hear that of rank 1, and then nothing more."""
        self.store.set("convscope/beat/1", last_words)
        self.beat(0)
        self.let_time_pass()


@pytest.fixture
def pair(monkeypatch):
    pair = Pair([])
    monkeypatch.setattr(rank_watch, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(rank_watch, "time", SimpleNamespace(monotonic=lambda: pair.now, sleep=time.sleep))
    monkeypatch.setattr(rank_watch.os, "_exit", pair.ended.append)
    yield pair
    for watch in pair.watches:
        watch.leave()
        watch._thread.join()  # before what would end the process does so again


def test_ranks_that_beat_are_left_alone_and_so_is_one_that_has_ended_in_order(pair):
    pair(0)
    other = pair(1)
    for _ in range(4):
        pair.beat(1)
        pair.beat(0)
        pair.now += rank_watch.SILENT_SECONDS / 2
    other.leave()
    for _ in range(2):
        pair.let_time_pass()
        pair.beat(0)
    assert not pair.ended


def test_a_silent_rank_is_named_and_this_process_ends(pair, capsys):
    pair(0)
    pair.lose("elsewhere 17 1")
    soon(lambda: pair.ended)
    assert pair.ended == [RankLost.exit_code]
    assert "convscope: rank 1 has been silent for" in capsys.readouterr().err


def sleeping_process():
    """A process to be found silent, ended after the test whatever becomes of it."""
    return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({2 * PATIENCE})"])


def beat_of(process, later=0.0):
    """What the process would say as rank 1, were it begun that many seconds later."""
    return f"{rank_watch.socket.gethostname()} {process.pid} {psutil.Process(process.pid).create_time() + later} 1"


def test_a_halted_process_on_this_machine_is_killed(pair):
    with sleeping_process() as sleeper:
        pair(0)
        pair.lose(beat_of(sleeper))
        assert sleeper.wait(timeout=PATIENCE) == -9


def test_another_process_that_only_has_its_number_is_left_alone(pair):
    with sleeping_process() as sleeper:
        pair(0)
        pair.lose(beat_of(sleeper, later=5.0))
        soon(lambda: pair.ended)
        assert sleeper.poll() is None
        sleeper.kill()


def test_what_another_rank_failed_of_is_passed_on(pair, capsys):
    pair(0)
    pair(1).leave("failed: the disk is full")
    soon(lambda: pair.ended)
    assert "rank 1 failed: the disk is full; all ranks end; the same command goes on" in capsys.readouterr().err


def test_whoever_asks_hears_who_is_lost_and_the_process_is_his_to_end(pair):
    watch = pair(0)
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(watch.find_lost()))
    asking.start()
    soon(watch._telling.locked)
    pair.lose("elsewhere 17 1")
    asking.join(PATIENCE)
    assert "rank 1 has been silent" in found[0]
    assert not pair.ended


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (dist.DistNetworkError("the store is gone"), RankLost),
        (RuntimeError("Connection closed by peer"), RankLost),  # gloo's, with or without its name in it
        (OSError("Broken pipe"), RankLost),
        (UsageError("no such model"), UsageError),
        (MemoryError(), MemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (Interrupted("stopped after step 20, saved"), Interrupted),
    ],
)
@pytest.mark.parametrize("lost", ["rank 1 has been silent", None])
@pytest.mark.parametrize("backend", ["gloo", "cpu:gloo,cuda:nccl"])
def test_whatever_is_not_explained_is_laid_to_a_rank_if_one_is_lost(monkeypatch, error, told, lost, backend):
    last_words = []

    class Watch:
        def __init__(self, *_):
            pass

        def find_lost(self):
            return lost

        def leave(self, words="done"):
            last_words.append(words)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(ranks, "rendezvous", lambda *_, **__: iter([(None, 0, 2)]))
    monkeypatch.setattr(ranks.dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(ranks, "RankWatch", Watch)
    monkeypatch.setattr(ranks, "_backend", lambda: backend)
    monkeypatch.setattr(ranks.dist, "destroy_process_group", lambda: last_words.append("destroyed"))
    laid = told is RankLost and lost
    with pytest.raises(told if laid else type(error)) as raised, ranks.join_ranks():
        raise error
    assert lost in str(raised.value) if laid else raised.value is error
    words = "done" if told is Interrupted else f"failed: {in_one_line(error)}"
    destroyed = ["destroyed"] if backend == "gloo" else []
    assert last_words == ([] if laid else [words, *destroyed])


def test_no_beat_comes_after_the_last_words(pair):
    watch, beating, go_on = pair(0), threading.Event(), threading.Event()
    tell = watch._store.set

    def slowly(key, words):
        if words != rank_watch.DONE:
            beating.set()
            go_on.wait(PATIENCE)
        tell(key, words)

    watch._store = SimpleNamespace(set=slowly, get=watch._store.get, check=watch._store.check)
    assert beating.wait(PATIENCE)
    leaving = threading.Thread(target=watch.leave)
    leaving.start()
    leaving.join(0.2)
    go_on.set()
    leaving.join()
    watch._thread.join()
    assert pair.store.get("convscope/beat/0") == rank_watch.DONE.encode()


def test_torchrun_trains_once_writes_once_and_the_same_command_finds_it_finished(tmp_path):
    engine = {"precision": "fp32", "memory_format": "contiguous", "compiled": False}
    (tmp_path / "other.json").write_text(json.dumps({"engine": engine}))
    flags = ["train", "digits", "--model", "resnet8", "--steps", "3", "--no-film", "--out", str(tmp_path / "run")]
    command = [*TORCHRUN, "2", "-m", "convscope", *flags, "--tune", str(tmp_path / "other.json")]
    first = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("test_accuracy") == 1
    config = json.loads((tmp_path / "run" / "run.json").read_bytes())
    assert (config["processes"], config["engine"], config["tuning"]["how"]) == (2, engine, "from other.json")
    assert (tmp_path / "run" / "events.jsonl").read_text().count('"kind": "end"') == 1
    again = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert "is finished already" in again.stderr
    assert again.stdout == first.stdout
