"""Ctrl-C and SIGTERM: a wish in a training, the end elsewhere, and one signal even where it comes twice."""

import signal

import pytest

from convscope.command_line import stop_signals
from convscope.command_line.stop_signals import StopSignals, exit_code, told_as_interrupts
from tests.patience import PATIENCE


def test_before_a_training_has_begun_a_signal_ends_at_once():
    with told_as_interrupts(), StopSignals() as stop:
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert exit_code(caught.value) == 143
        assert not stop()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Two signals are the same one however slow the machine is, until a test says otherwise."""
    monkeypatch.setattr(stop_signals, "SAME_SIGNAL_SECONDS", PATIENCE)


def test_in_a_training_the_first_is_a_wish_and_a_later_one_ends_at_once(monkeypatch):
    with told_as_interrupts(), StopSignals() as stop:
        stop.begin()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # the same, passed on
        assert stop()
        assert stop.received == signal.SIGTERM
        monkeypatch.setattr(stop_signals, "SAME_SIGNAL_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_one_that_comes_twice_interrupts_once():
    with told_as_interrupts():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_everything_is_as_it_was_afterwards():
    before = [signal.getsignal(number) for number in stop_signals.SIGNALS]
    with told_as_interrupts(), StopSignals():
        pass
    assert [signal.getsignal(number) for number in stop_signals.SIGNALS] == before
