"""A phase's pace is told from its curve: planted curves whose shape is known."""

from __future__ import annotations

import pytest

from convscope.report.phase_charts import paces, phase_progress
from convscope.types import Event
from tests.report.test_charts import run_events

SHAPES = {
    "fast at first, then slower": lambda x: 0.9 * (1 - (1 - x) ** 4),
    "about even": lambda x: 0.1 + 0.8 * x,
    "slow at first, then faster": lambda x: 0.9 * x**4,
    "hardly any": lambda x: 0.5 + 0.001 * x,
}


def planted(*shapes: str, steps: int = 400) -> list[Event]:
    """A training with a phase of each shape, 100 steps an epoch."""
    events: list[Event] = []
    for index, shape in enumerate(shapes):
        first = index * steps
        phase = {
            "index": index,
            "optimizer": ("adam", "sgd")[index % 2],
            "learning_rate": 0.1,
            "schedule": "constant",
        }
        events.append(
            Event(
                "phase", first, 0.0, {**phase, "first_step": first, "last_step": first + steps, "epoch": first / 100}
            )
        )
        for step in range(first + 10, first + steps + 1, 10):
            accuracy = SHAPES[shape]((step - first) / steps)
            data = {"epoch": step / 100, "phase": index, "loss": 1 - accuracy, "accuracy": accuracy}
            events.append(Event("train", step, 0.0, data))
            if step % 100 == 0:
                data = {"epoch": step / 100, "test_loss": 1.0, "test_accuracy": step / 10_000}
                events.append(Event("eval", step, 0.0, data))
    return events


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_of_a_phase_is_the_planted_one(shape):
    assert [pace["shape"] for pace in paces(planted(shape))] == [shape]


def test_a_straight_line_gains_half_in_its_first_half():
    (pace,) = paces(planted("about even"))
    assert pace["early"] == pytest.approx(0.5, abs=0.02)
    assert (pace["first"], pace["last"]) == (pytest.approx(0.13, abs=0.02), pytest.approx(0.89, abs=0.02))


def test_test_accuracy_an_epoch_on_both_sides_of_a_change():
    first, second = paces(planted("about even", "hardly any"))
    assert first["opening"] is None  # nothing was measured before
    assert first["closing"] == pytest.approx(1.0)  # a point in 100 steps
    assert (second["opening"], second["closing"]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_phase_with_nothing_on_record_is_left_out():
    events = [event for event in planted("about even", "about even") if event.step <= 400]
    assert [pace["index"] for pace in paces(events)] == [0]


def test_a_column_for_each_phase_on_one_scale():
    figure = phase_progress(run_events())
    accuracies = figure.axes[:2]
    assert [axes.get_title() for axes in accuracies] == ["1: Adam, 0.001", "2: SGD, 0.1"]
    assert accuracies[0].get_ylim() == accuracies[1].get_ylim()
    batches = [list(axes.get_lines()[0].get_ydata()) for axes in accuracies]
    assert batches == [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]]
