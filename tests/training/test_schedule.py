"""Phases, learning rates and optimizers by step."""

import pytest

from convscope.training.schedule import learning_rate, plan, span_of
from convscope.types import Phase

from .conftest import SGD, tiny_recipe


def test_plan_mixes_epochs_and_steps():
    spans = plan(tiny_recipe(Phase("adam", 0.1, epochs=2), SGD), steps_per_epoch=6)
    assert [(span.first, span.last) for span in spans] == [(0, 12), (12, 19)]


def test_one_cycle_rises_to_its_peak_and_falls_to_nearly_zero():
    (span,) = plan(tiny_recipe(Phase("sgd", 0.4, steps=99, schedule="one-cycle")), steps_per_epoch=6)
    rates = [learning_rate(span, step) for step in range(99)]
    peak = rates.index(max(rates))
    assert peak == 19
    assert rates[peak] == pytest.approx(0.4)
    assert rates[0] == pytest.approx(0.4 / 20)
    assert rates[-1] == pytest.approx(0.4 / 80)
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)


def test_constant_stays():
    (span,) = plan(tiny_recipe(SGD), steps_per_epoch=6)
    assert {learning_rate(span, step) for step in range(7)} == {0.05}


def test_every_step_lies_in_its_span_and_what_follows_the_last_in_the_last():
    spans = plan(tiny_recipe(Phase("adam", 0.1, steps=3), Phase("sgd", 0.1, steps=2)), steps_per_epoch=10)
    assert [span_of(spans, step).number for step in range(7)] == [0, 0, 0, 1, 1, 1, 1]
