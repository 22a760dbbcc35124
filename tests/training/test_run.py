"""Runs: started, stopped, killed, resumed, and read again."""

import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from convscope.data import load_dataset
from convscope.errors import DataError, NumericsError, ResourceError, UsageError
from convscope.training import film
from convscope.training import start as starting
from convscope.training.frames import read_frame, recorded_steps
from convscope.training.recipes import get_recipe, override_recipe, suit_dataset
from convscope.training.run import open_run
from convscope.training.start import resume_run, start_run


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def tiny(dataset, **overrides):
    settings = [*overrides.pop("settings", []), "batch_size=250", "precision=fp32"]
    recipe = override_recipe(get_recipe("fast"), model="resnet8", settings=settings, **({"epochs": 2} | overrides))
    return suit_dataset(recipe, dataset)


def start(path, digits, recipe=None, **keywords):
    recipe = recipe or tiny(digits)
    return list(start_run(path, digits, recipe, dataset_options={"seed": 0}, device="cpu", **keywords))


def test_a_run_folder_is_all_that_is_needed_afterwards(digits, tmp_path):
    events = start(tmp_path, digits, command="convscope train digits")
    run = open_run(str(tmp_path))
    assert run.events() == [dataclasses.replace(event, data=dict(event.data)) for event in events]
    assert run.config["recipe"] == json.loads(json.dumps(dataclasses.asdict(tiny(digits))))
    assert run.config["dataset"]["fingerprint"] == digits.fingerprint
    assert run.dataset().fingerprint == digits.fingerprint
    network = run.network(say=print)
    images = next(digits.test.images.batches([torch.arange(360)])).float() / 255
    with torch.inference_mode():
        accuracy = (network(images).argmax(1) == digits.test.labels).float().mean().item()
    assert accuracy == pytest.approx(run.results()["test_accuracy"])
    with pytest.raises(UsageError, match="holds a run already"):
        start(tmp_path, digits)


def test_stopped_and_resumed_is_the_same_to_the_last_bit(digits, tmp_path):
    start(tmp_path / "whole", digits)
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 7

    stopped = start(tmp_path / "cut", digits, should_stop=stop)
    assert (stopped[-1].data["reason"], stopped[-1].step) == ("interrupted", 7)
    said: list[str] = []
    list(resume_run(open_run(str(tmp_path / "cut")), digits, say=said.append))
    assert said == []
    whole, cut = (open_run(str(tmp_path / name)) for name in ("whole", "cut"))
    assert whole.results()["weights_sha256"] == cut.results()["weights_sha256"]
    evals = [[e.data for e in run.events() if e.kind == "eval"] for run in (whole, cut)]
    assert evals[0] == evals[1]
    assert [event.kind for event in cut.events()].count("end") == 1


def test_stopped_during_the_final_figures_keeps_its_hash(digits, tmp_path):
    start(tmp_path / "whole", digits)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 10  # ten steps, then the evaluation of the training images

    stopped = start(tmp_path / "cut", digits, should_stop=stop)
    assert (stopped[-1].data["reason"], stopped[-1].step) == ("interrupted", 10)
    list(resume_run(open_run(str(tmp_path / "cut")), digits))
    whole, cut = (open_run(str(tmp_path / name)).results()["weights_sha256"] for name in ("whole", "cut"))
    assert whole == cut
    file = tmp_path / "cut" / "checkpoints" / "step-000000010" / "weights.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == cut


def test_a_damaged_newest_checkpoint_is_named(digits, tmp_path):
    start(tmp_path, digits)
    (tmp_path / "checkpoints" / "step-000000010" / "weights.safetensors").write_bytes(b"")
    said: list[str] = []
    network = open_run(str(tmp_path)).network(say=said.append)
    assert "step-000000010/weights.safetensors is damaged" in said[0]
    file = tmp_path / "checkpoints" / "step-000000005" / "weights.safetensors"
    assert network.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_other_classes_get_a_new_head_even_if_there_are_as_many(digits, tmp_path):
    start(tmp_path / "first", digits)
    renamed = dataclasses.replace(digits, class_names=tuple("abcdefghij"))
    said: list[str] = []
    start(tmp_path / "second", renamed, weights=str(tmp_path / "first"), say=said.append)
    anew = "the head fc begins anew, for 10 classes"
    assert said == [f"weights from {tmp_path / 'first'}; not used: fc.bias, fc.weight; {anew}"]


def test_no_checkpoint_yet_begins_again(digits, tmp_path):
    start(tmp_path / "whole", digits)
    events = start_run(tmp_path / "cut", digits, tiny(digits), dataset_options={"seed": 0}, device="cpu")
    next(events)  # "start": run.json is there, no checkpoint is
    events.close()
    said: list[str] = []
    list(resume_run(open_run(str(tmp_path / "cut")), digits, say=said.append))
    assert said == ["no checkpoint yet: from the beginning"]
    sums = [open_run(str(tmp_path / name)).results()["weights_sha256"] for name in ("whole", "cut")]
    assert sums[0] == sums[1]


def test_other_images_are_noticed(digits, tmp_path):
    start(tmp_path, digits)
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace(digits.fingerprint, "0" * 64))
    with pytest.raises(DataError, match=r"not those that .* was trained on: fingerprint"):
        open_run(str(tmp_path)).dataset()


def test_what_makes_a_resumption_inexact_is_said(digits, tmp_path):
    start(tmp_path, digits)
    path = tmp_path / "run.json"
    config = json.loads(path.read_text())
    config["versions"]["torch"] = "1.0"
    config["machine"]["threads"] = 64
    path.write_text(json.dumps(config))
    said: list[str] = []
    list(resume_run(open_run(str(tmp_path)), digits, say=said.append))
    assert said == [
        f"not bit-exact: torch was 1.0, is {torch.__version__}",
        f"not bit-exact: threads was 64, is {torch.get_num_threads()}",
    ]
    resumed = next(event for event in reversed(open_run(str(tmp_path)).events()) if event.data.get("resumed"))
    assert [f"not bit-exact: {reason}" for reason in resumed.data["not_bit_exact"]] == said


def test_weights_of_a_run_and_a_frozen_body(digits, tmp_path):
    start(tmp_path / "first", digits)
    said: list[str] = []
    recipe = tiny(digits, settings=["freeze=true"])
    start(tmp_path / "second", digits, recipe, weights=str(tmp_path / "first"), say=said.append)
    assert said == [f"weights from {tmp_path / 'first'}; not used: none, all fit"]
    first, second = (
        open_run(str(tmp_path / name)).network(say=print).model.state_dict() for name in ("first", "second")
    )
    assert {name for name in first if not torch.equal(first[name], second[name])} == {"fc.weight", "fc.bias"}
    with pytest.raises(UsageError, match="--train head .* needs --weights"):
        start(tmp_path / "third", digits, recipe)


def test_a_diverging_run_is_logged_and_keeps_its_last_good_state(digits, tmp_path):
    with pytest.raises(NumericsError):
        start(
            tmp_path,
            digits,
            tiny(digits, settings=["phases.0.learning_rate=1000", "phases.0.momentum=0.99"], epochs=40),
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
def test_memory_running_out_is_one_line(error, digits, tmp_path, monkeypatch):
    def burst(*_, **__):
        raise error
        yield

    monkeypatch.setattr(starting, "train", burst)
    with pytest.raises(ResourceError, match="out of memory; what was saved stands; a smaller batch"):
        start(tmp_path, digits)


def test_no_room_for_checkpoints_is_told_before_the_start(digits, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(starting.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"0 MB free at .* MB needed for checkpoints"):
        start(tmp_path, digits)
    assert not (tmp_path / "run.json").exists()


COMMAND = [sys.executable, "-m", "convscope"]
TRAIN = ["train", "digits", "--model", "resnet8", "--recipe", "adam-then-sgd", "--quiet"]
LENGTH = ["--set", "batch_size=64", "--set", "phases.0.epochs=2", "--set", "phases.1.epochs=2"]


def train_to_the_end(out: Path) -> None:
    subprocess.run([*COMMAND, *TRAIN, *LENGTH, "--out", str(out)], check=True, capture_output=True, timeout=250)


def kill_at(out: Path, bytes_of_log: int) -> None:
    """Start a training and kill -9 it when its log has grown to so many bytes."""
    child = subprocess.Popen(
        [*COMMAND, *TRAIN, *LENGTH, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = out / "events.jsonl"
    while child.poll() is None and not (log.exists() and log.stat().st_size >= bytes_of_log):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()


def killed_and_resumed(tmp_path: Path, kills: int) -> tuple[dict, list[dict]]:
    """The results of a run left alone, and of as many killed at random moments and resumed."""
    train_to_the_end(tmp_path / "whole")
    length = (tmp_path / "whole" / "events.jsonl").stat().st_size
    dice = random.Random(0)
    results = []
    for index in range(kills):
        out = tmp_path / f"killed-{index}"
        kill_at(out, dice.randrange(1, length))
        time.sleep(dice.random() * 0.01)
        subprocess.run([*COMMAND, "resume", str(out), "--quiet"], check=True, capture_output=True, timeout=250)
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
    child = subprocess.Popen(
        [*COMMAND, *TRAIN, *LENGTH, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "checkpoints" / "step-000000000").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 143
    assert "saved; go on with: convscope resume" in said
    assert "Traceback" not in said
    assert os.listdir(tmp_path / "run" / "checkpoints")


def test_a_run_is_filmed_and_a_resumption_films_on(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(film, "BUDGET", 1e9)
    start(tmp_path, digits, should_stop=lambda: True)  # after one step
    assert [event.step for event in open_run(str(tmp_path)).events() if event.kind == "film"] == [0, 1]
    list(resume_run(open_run(str(tmp_path)), digits))
    run = open_run(str(tmp_path))
    steps = [event.step for event in run.events() if event.kind == "film"]
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert recorded_steps(tmp_path, steps) == steps
    last = read_frame(tmp_path, 10)
    weights = run.network(say=print).model.get_submodule("conv1").weight
    assert torch.equal(torch.from_numpy(last.filters), weights.detach().half())


def test_an_alarm_is_told_once_over_all_resumptions(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(film, "BUDGET", 1e9)
    monkeypatch.setattr(film, "SILENT_ALARM", -1.0)  # every layer, at every frame
    monkeypatch.setattr(film, "SETTLED", 0)
    start(tmp_path, digits, should_stop=lambda: True)
    list(resume_run(open_run(str(tmp_path)), digits))
    alarms = [event.data["layer"] for event in open_run(str(tmp_path)).events() if event.kind == "alarm"]
    assert len(alarms) == len(set(alarms)) > 7


def test_too_little_room_for_the_next_checkpoints_is_an_alarm(digits, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    events = start_run(tmp_path, digits, tiny(digits, epochs=1), dataset_options={"seed": 0}, device="cpu")
    seen = [next(events)]
    monkeypatch.setattr(starting.shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    seen += list(events)
    [alarm] = [event for event in seen if event.kind == "alarm"]
    assert alarm.step == 0
    assert alarm.data["what"] == "disk"
    assert "0 MB free at" in alarm.data["message"]
