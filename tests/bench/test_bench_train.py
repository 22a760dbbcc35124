import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from bench import peers, train
from bench.peers import Marks, Task, timm_loop, usual_loop
from bench.rates import matmul_rate, training_operations
from bench.stand_ins import noise
from bench.train import comparisons, losses, ours, race, throughputs
from convscope.models import build_model


@pytest.fixture
def task():
    return Task(noise(160), "resnet8", batch=8, steps=20)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the contenders of a test move on themselves."""
    now = [0.0]
    monkeypatch.setattr(train.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(train.gc, "collect", lambda: 0)  # which takes longer than these tests
    return now


def contender(clock, turns, name, *, seconds, loss=1.0):
    def run(task, mark):
        turns.append((name, task.seed))
        clock[0] += 100  # a beginning that does not count
        for step in range(1, task.steps + 1):
            clock[0] += seconds if step > 10 else 50
            if step % 10 == 0:
                mark(step, loss)
        return "slowly"

    return run


def test_contenders_take_turns_with_a_seed_each_round(clock, task):
    turns = []
    chosen = {name: contender(clock, turns, name, seconds=1) for name in ("ours", "timm", "keras")}
    race(chosen, task, rounds=2)
    assert turns == [("ours", 0), ("timm", 0), ("keras", 0), ("timm", 1), ("keras", 1), ("ours", 1)]


def test_what_counts_is_the_time_after_the_first_mark(clock, task):
    chosen = {
        "ours": contender(clock, [], "ours", seconds=0.5),
        "the usual loop": contender(clock, [], "usual", seconds=2),
    }
    runs, missing = race(chosen, task, rounds=3)
    assert missing == []
    assert [each.seconds for each in runs["ours"]] == [5, 5, 5]
    [compared] = comparisons(runs, task)
    assert compared.speedup == 4
    assert compared.ours[0] == pytest.approx(1000 * 5 / 80)
    assert [(figure.value, figure.note) for figure in throughputs(runs, task)] == [(16, "slowly"), (4, "slowly")]


def test_a_peer_that_is_not_installed_is_left_out_and_told(clock, task):
    def absent(task, mark):
        raise ModuleNotFoundError("No module named 'keras'")

    runs, missing = race({"ours": contender(clock, [], "ours", seconds=1), "keras": absent}, task, rounds=2)
    assert list(runs) == ["ours"]
    assert len(runs["ours"]) == 2
    assert missing[0].value is None
    assert missing[0].note == "No module named 'keras'; pip install keras"


def test_losses_are_held_against_ours_in_fp32(clock, task):
    chosen = {
        "ours": contender(clock, [], "ours", seconds=1, loss=1.5),
        "ours, fp32": contender(clock, [], "ours, fp32", seconds=1, loss=1.25),
    }
    told = losses(race(chosen, task, rounds=1)[0])
    assert [figure.value for figure in told] == [1.5, 1.25]
    assert told[0].note == "mean +0.250 from ours, fp32's"


def test_what_is_wanted_is_wanted_of_ours_as_it_stands_against_the_usual_loop(clock):
    task = Task(noise(16), "resnet18-7x7", batch=8, steps=20)
    chosen = {
        name: contender(clock, [], name, seconds=1) for name in ("ours", "ours, fp32", "the usual loop", "timm")
    }
    wanted = {row.what: row.wanted for row in comparisons(race(chosen, task, rounds=1)[0], task)}
    assert len(wanted) == 4
    assert [what for what, least in wanted.items() if least] == [
        "resnet18-7x7, 1,000 images trained on, ours, against the usual loop"
    ]


@pytest.mark.parametrize("loop", [partial(ours, tune="off"), usual_loop, timm_loop], ids=["ours", "usual", "timm"])
def test_every_loop_marks_every_tenth_step_and_begins_where_the_others_do(loop, task, monkeypatch):
    monkeypatch.setattr(peers, "WORKERS", 0)
    marks = []
    how = loop(task, lambda step, loss: marks.append((step, loss)))
    assert how.startswith(("fp32", "bf16"))
    assert [step for step, _ in marks] == [10, 20]
    assert all(abs(loss - math.log(10)) < 0.5 for _, loss in marks)


def test_marks_tell_the_mean_since_the_last():
    told = []
    marks = Marks(lambda step, loss: told.append((step, loss)))
    for loss in range(1, 21):
        marks.add(float(loss))
    assert told == [(10, 5.5), (20, 15.5)]


def test_a_pil_image_is_the_photograph(task):
    photographs = peers.Photographs(task.dataset, lambda image: image)
    image, label = photographs[5]
    pixels = next(iter(task.dataset.train.images.batches([torch.tensor([5])])))[0]
    assert np.array_equal(np.array(image).transpose(2, 0, 1), pixels.numpy())
    assert label == 5
    assert len(photographs) == 160


def test_operations_are_those_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(4, 5, bias=False))
    convolution, linear = 2 * 3 * 9 * 4 * 8 * 8, 2 * 4 * 5
    # Forward, then the weights' gradients, then the inputs' where there is a layer below.
    assert training_operations(model, (8, 8)) == 2 * convolution + 3 * linear
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_rate_is_operations_over_seconds(monkeypatch):
    times = iter([0.0, 9.0, *(value for start in (10, 20, 30, 40, 50) for value in (start, start + 2.0))])
    monkeypatch.setattr("bench.rates.time.perf_counter", lambda: next(times))
    assert matmul_rate(torch.float32, size=8) == 2 * 8**3 / 2


def test_the_keras_twin_computes_the_same():
    pytest.importorskip("keras")
    from bench.keras_twin import keras_twin

    model = build_model("resnet18-7x7", class_count=10, seed=0).eval()
    twin = keras_twin(model, (32, 32))
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs, expected = twin(images, training=False), model(images)
    assert torch.allclose(theirs.cpu(), expected, atol=1e-4)
    assert twin.count_params() == sum(value.numel() for value in model.state_dict().values() if value.ndim)


def test_an_endless_loader_goes_on_with_the_next_epoch():
    batches = peers.endless([1, 2])
    assert [next(batches) for _ in range(5)] == [1, 2, 1, 2, 1]
