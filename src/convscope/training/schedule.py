"""Which phase a step belongs to, and its learning rate: pure functions of recipe and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from convscope.types import Phase, Recipe


class Span(NamedTuple):
    """A phase with its place in the run."""

    number: int  # from 0
    phase: Phase
    first: int  # its first step
    last: int  # one past its last step


def plan(recipe: Recipe, *, steps_per_epoch: int) -> list[Span]:
    """Where each phase of the recipe begins and ends, in steps.

    >>> from convscope.training.recipes import get_recipe
    >>> [(span.first, span.last) for span in plan(get_recipe("adam-then-sgd"), steps_per_epoch=390)]
    [(0, 2340), (2340, 4680)]
    """
    spans: list[Span] = []
    first = 0
    for index, phase in enumerate(recipe.phases):
        steps = phase.steps if phase.steps is not None else (phase.epochs or 0) * steps_per_epoch
        spans.append(Span(index, phase, first, first + steps))
        first += steps
    return spans


def span_of(spans: Sequence[Span], step: int) -> Span:
    """The span in which the update number `step` of the run lies; past the end, the last one."""
    return next((span for span in spans if step < span.last), spans[-1])


def learning_rate(span: Span, step: int) -> float:
    """The learning rate of the update number `step` of the run.

    "one-cycle" rises linearly to the peak over the warm-up and falls linearly to zero after it
    (Smith and Topin 2017, arXiv:1708.07120, with straight lines).
    """
    phase = span.phase
    if phase.schedule == "constant":
        return phase.learning_rate
    done = _done(span, step)
    if done < phase.warmup:
        return phase.learning_rate * done / phase.warmup
    return phase.learning_rate * (1 - done) / (1 - phase.warmup)


def resolution(span: Span, step: int) -> float:
    """The sides of the images of that update, as a share: smaller ones are enough while the rate rises.

    Their steps take less time: at three quarters of the side 9/16.
    """
    phase = span.phase
    rises = phase.schedule == "one-cycle" and _done(span, step) < phase.warmup
    return phase.resolution if rises else 1.0


def _done(span: Span, step: int) -> float:
    """How much of the span is done with that update, in (0, 1): never a learning rate of zero."""
    return (step - span.first + 1) / (span.last - span.first + 1)
