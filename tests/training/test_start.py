"""Trainings in a run folder: started, stopped, gone on with, and what is said of those that cannot."""

import dataclasses
import hashlib
import json
import re
import shutil

import pytest
import torch
from torch import nn

from convscope.errors import NumericsError, ResourceError, UsageError
from convscope.training import film
from convscope.training import start as starting
from convscope.training.frames import read_frame, recorded_steps
from convscope.training.run import open_run
from convscope.training.start import resume_run, start_run
from tests.training.runs import start, ten_steps

from .conftest import planted_dataset


@pytest.fixture(scope="module")
def few():
    return planted_dataset()


@pytest.fixture(scope="module")
def whole(few, tmp_path_factory):
    """A run that was left alone."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(path, few)
    return path


def test_stopped_and_resumed_is_the_same_to_the_last_bit(few, whole, tmp_path):
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 7

    stopped = start(tmp_path / "cut", few, should_stop=stop)
    assert (stopped[-1].data["reason"], stopped[-1].step) == ("interrupted", 7)
    said: list[str] = []
    list(resume_run(open_run(str(tmp_path / "cut")), few, say=said.append))
    assert said == []
    whole, cut = (open_run(str(path)) for path in (whole, tmp_path / "cut"))
    assert whole.results()["weights_sha256"] == cut.results()["weights_sha256"]
    evals = [[e.data for e in run.events() if e.kind == "eval"] for run in (whole, cut)]
    assert evals[0] == evals[1]
    assert [event.kind for event in cut.events()].count("end") == 1


def test_stopped_during_the_final_figures_keeps_its_hash(few, whole, tmp_path):
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 10  # ten steps, then the evaluation of the training images

    stopped = start(tmp_path / "cut", few, should_stop=stop)
    assert (stopped[-1].data["reason"], stopped[-1].step) == ("interrupted", 10)
    list(resume_run(open_run(str(tmp_path / "cut")), few))
    whole, cut = (open_run(str(path)).results()["weights_sha256"] for path in (whole, tmp_path / "cut"))
    assert whole == cut
    file = tmp_path / "cut" / "checkpoints" / "step-000000010" / "weights.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == cut


def test_no_checkpoint_yet_begins_again(few, whole, tmp_path):
    events = start_run(tmp_path / "cut", few, ten_steps(few), dataset_options={"seed": 0}, device="cpu")
    next(events)  # "start": run.json is there, no checkpoint is
    events.close()
    said: list[str] = []
    list(resume_run(open_run(str(tmp_path / "cut")), few, say=said.append))
    assert said == ["no checkpoint yet: from the beginning"]
    sums = [open_run(str(path)).results()["weights_sha256"] for path in (whole, tmp_path / "cut")]
    assert sums[0] == sums[1]


def test_a_network_that_begins_otherwise_is_trained_without_whitening(few, tmp_path, monkeypatch):
    grouped = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    monkeypatch.setattr(starting, "initial_model", lambda *_, **__: grouped)
    recipe, said = ten_steps(few), []
    assert recipe.phases[0].whitened
    assert start(tmp_path / "run", few, recipe, say=said.append)[-1].data["reason"] == "finished"
    assert "trained without the whitening" in said[0]
    run = open_run(str(tmp_path / "run"))
    assert run.config["recipe"]["phases"][0]["whitened"] is False  # what is told of it is what was done
    assert run.config["asked"] == {"phases.0.whitened": True}
    run.check_same(recipe, few, None)  # the same command goes on with it
    with pytest.raises(UsageError, match="seed was 0, is 1"):
        run.check_same(dataclasses.replace(recipe, seed=1), few, None)


def test_what_makes_a_resumption_inexact_is_said(few, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    path = run / "run.json"
    config = json.loads(path.read_text())
    config["versions"]["torch"] = "1.0"
    config["machine"]["threads"] = 64
    path.write_text(json.dumps(config))
    said: list[str] = []
    list(resume_run(open_run(str(run)), few, say=said.append))
    assert said == [
        f"not bit-exact: torch was 1.0, is {torch.__version__}",
        f"not bit-exact: threads was 64, is {torch.get_num_threads()}",
    ]
    resumed = next(event for event in reversed(open_run(str(run)).events()) if event.data.get("resumed"))
    assert [f"not bit-exact: {reason}" for reason in resumed.data["not_bit_exact"]] == said


def test_other_classes_get_a_new_head_even_if_there_are_as_many(few, whole, tmp_path):
    renamed = dataclasses.replace(few, class_names=tuple("abc"))
    said: list[str] = []
    start(tmp_path / "second", renamed, weights=str(whole), say=said.append)
    anew = "the head fc begins anew, for 3 classes"
    assert said == [f"weights from {whole}; not used: fc.bias, fc.weight; {anew}"]


def test_weights_of_a_run_and_a_frozen_body(few, whole, tmp_path):
    said: list[str] = []
    recipe = ten_steps(few, settings=["freeze=true"])
    start(tmp_path / "second", few, recipe, weights=str(whole), say=said.append)
    assert said == [f"weights from {whole}; not used: none, all fit"]
    first, second = (
        open_run(str(path)).network(say=print).model.state_dict() for path in (whole, tmp_path / "second")
    )
    assert {name for name in first if not torch.equal(first[name], second[name])} == {"fc.weight", "fc.bias"}
    with pytest.raises(UsageError, match="--train head .* needs --weights"):
        start(tmp_path / "third", few, recipe)


def test_a_diverging_run_is_logged_and_keeps_its_last_good_state(few, tmp_path):
    with pytest.raises(NumericsError):
        start(
            tmp_path,
            few,
            ten_steps(few, settings=["phases.0.learning_rate=1000", "phases.0.momentum=0.99"], epochs=40),
        )
    run = open_run(str(tmp_path))
    alarm = run.events()[-1]
    assert alarm.kind == "alarm"
    assert re.search(rf" step {alarm.step}\b", alarm.data["message"])
    assert all(weight.isfinite().all() for weight in run.network(say=print).model.state_dict().values())
    assert run.results() == {}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("0 bytes free"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"),
        MemoryError(),
    ],
)
def test_memory_running_out_is_one_line(error, few, tmp_path, monkeypatch):
    def burst(*_, **__):
        raise error
        yield

    monkeypatch.setattr(starting, "train", burst)
    with pytest.raises(ResourceError, match="out of memory; what was saved stands; a smaller batch"):
        start(tmp_path, few)


def test_no_room_for_checkpoints_is_told_before_the_start(few, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(starting.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"0 MB free at .* MB needed for checkpoints"):
        start(tmp_path, few)
    assert not (tmp_path / "run.json").exists()


def test_a_run_is_filmed_and_a_resumption_films_on(few, tmp_path, monkeypatch):
    monkeypatch.setattr(film, "BUDGET", 1e9)
    start(tmp_path, few, should_stop=lambda: True)  # after one step
    assert [event.step for event in open_run(str(tmp_path)).events() if event.kind == "film"] == [0, 1]
    list(resume_run(open_run(str(tmp_path)), few))
    run = open_run(str(tmp_path))
    steps = [event.step for event in run.events() if event.kind == "film"]
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert recorded_steps(tmp_path, steps) == steps
    last = read_frame(tmp_path, 10)
    weights = run.network(say=print).model.get_submodule("conv1").weight
    assert torch.equal(torch.from_numpy(last.filters), weights.detach().half())


def test_an_alarm_is_told_once_over_all_resumptions(few, tmp_path, monkeypatch):
    monkeypatch.setattr(film, "BUDGET", 1e9)
    monkeypatch.setattr(film, "SILENT_ALARM", -1.0)  # every layer, at every frame
    monkeypatch.setattr(film, "SETTLED", 0)
    start(tmp_path, few, should_stop=lambda: True)
    list(resume_run(open_run(str(tmp_path)), few))
    alarms = [event.data["layer"] for event in open_run(str(tmp_path)).events() if event.kind == "alarm"]
    assert len(alarms) == len(set(alarms)) > 7


def test_too_little_room_for_the_next_checkpoints_is_an_alarm(few, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    events = start_run(tmp_path, few, ten_steps(few, epochs=1), dataset_options={"seed": 0}, device="cpu")
    seen = [next(events)]
    monkeypatch.setattr(starting.shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    seen += list(events)
    [alarm] = [event for event in seen if event.kind == "alarm"]
    assert alarm.step == 0
    assert alarm.data["what"] == "disk"
    assert "0 MB free at" in alarm.data["message"]
