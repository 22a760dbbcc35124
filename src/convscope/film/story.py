"""What a run's log says of a step: its epoch, its phase, and the newest test accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convscope.types import Event

OPTIMIZERS: dict[str, str] = {"sgd": "SGD", "adam": "Adam"}


class Story:
    """A run's log, to be asked about steps.

    >>> data = {"index": 0, "optimizer": "sgd", "first_step": 0, "last_step": 40}
    >>> story = Story([Event("start", 0, 0.0, {"steps_per_epoch": 8}), Event("phase", 0, 0.0, data)])
    >>> story.words(20)
    'step 20  ·  epoch 2.5  ·  phase 1, SGD'
    """

    def __init__(self, events: Sequence[Event]) -> None:
        start = next((event.data for event in events if event.kind == "start"), {})
        self._per_epoch: int | None = start.get("steps_per_epoch")
        self._phases = [event.data for event in events if event.kind == "phase"]
        self._accuracies = [(event.step, event.data["test_accuracy"]) for event in events if event.kind == "eval"]
        self.last = max([1, *(event.step for event in events)])

    def spans(self) -> list[tuple[float, float, str]]:
        """Each phase as shares of the training so far, and its optimizer."""
        return [
            (each["first_step"] / self.last, min(each["last_step"] / self.last, 1.0), optimizer_name(each))
            for each in self._phases
        ]

    def epoch(self, step: int) -> float | None:
        """How many epochs the training had seen; None where the log does not say."""
        return step / self._per_epoch if self._per_epoch else None

    def phase(self, step: int) -> str:
        """The phase that led to the step, in words; empty where the log does not say."""
        phase = next((each for each in reversed(self._phases) if each["first_step"] < max(step, 1)), None)
        return f"phase {phase['index'] + 1}, {optimizer_name(phase)}" if phase else ""

    def words(self, step: int) -> str:
        """The step, its epoch and phase, and what the newest evaluation until then found."""
        words = [f"step {step:,}"]
        if (epoch := self.epoch(step)) is not None:
            words.append(f"epoch {epoch:.1f}")
        if phase := self.phase(step):
            words.append(phase)
        known = [(at, accuracy) for at, accuracy in self._accuracies if at <= step]
        if known:
            at, accuracy = known[-1]
            words.append(f"test accuracy {100 * accuracy:.1f} %" + (f" at step {at:,}" if at < step else ""))
        return "  ·  ".join(words)


def optimizer_name(phase: Mapping[str, Any]) -> str:
    """A phase's optimizer as people write it.

    >>> optimizer_name({"optimizer": "sgd"})
    'SGD'
    """
    name = str(phase["optimizer"])
    return OPTIMIZERS.get(name, name)
