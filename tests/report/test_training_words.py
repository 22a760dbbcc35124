"""What stands below the figures of a training is what a person would work out from its log by hand."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.report.training_words import classes_said, confusion_said, curves_said, film_said, sureness_said
from convscope.training.frames import Frame
from convscope.types import Event
from tests.report.test_charts import run_events


def evaluated(*accuracies: float) -> list[Event]:
    return [
        Event("eval", 10 * epoch, 0.0, {"epoch": epoch, "test_accuracy": accuracy})
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


def test_curves_tell_where_accuracy_rose_most_and_what_is_noise():
    assert curves_said(evaluated(0.2, 0.3, 0.7, 0.69, 0.71)) == (
        "Test accuracy rose most, by 40.0 points, from epoch 2 to 3; in the later half it moved by 1.5 points from "
        "one evaluation to the next, up or down: a single move of that size says little."
    )
    assert curves_said(run_events()).startswith("The loss on training batches went from 0.4 to 0.05. ")
    assert "Test accuracy never rose; in" in curves_said(evaluated(0.5, 0.4, 0.3))
    assert curves_said(evaluated(0.5)) == curves_said([]) == ""


def test_confusion_tells_the_pair_and_the_class_that_is_named_too_often():
    matrix = np.array([[8, 2, 0], [3, 5, 2], [0, 1, 9]])
    assert confusion_said(matrix, ("a", "<b>", "c")) == (
        "“a” and “<b>” are taken for each other 5 times, 62 % of all 8 mistakes. Named too often is above all “a” "
        "(11 times for 10 images), too seldom “<b>” (8 for 10)."
    )
    swapped = np.array([[8, 2], [2, 8]])
    assert confusion_said(swapped, ("a", "b")) == (
        "“a” and “b” are taken for each other 4 times, 100 % of all 4 mistakes."
    )
    assert confusion_said(np.diag([3, 4]), ("a", "b")) == ""


def test_classes_count_those_that_are_surely_better_or_worse():
    matrix = np.array([[99, 1, 0, 0], [50, 50, 0, 0], [25, 0, 75, 0], [0, 0, 0, 0]])
    assert classes_said(matrix) == (
        "1 of 3 classes lie above the accuracy over all with their whole interval, and 1 below it; from the best to "
        "the weakest it is 49.0 points."
    )
    assert classes_said(np.array([[5, 0], [0, 0]])) == ""


@pytest.mark.parametrize(
    ("sure", "words"),
    [(0.9, "20.0 points too sure."), (0.65, "5.0 points too modest."), (0.705, "on average its probabilities")],
)
def test_sureness_is_held_against_being_right(sure, words):
    found = {"sure_all": sure, "accuracy": 0.7, "sure": 400, "sure_wrong_of": 30}
    said = sureness_said(found)
    assert words in said
    assert said.endswith("Of the 400 answers that it is 90 % sure of and more, 7.5 % are wrong.")
    assert "answers" not in sureness_said({**found, "sure": 0})
    assert sureness_said({**found, "sure_all": None}) == sureness_said({}) == ""


def test_film_tells_how_far_the_filters_went_and_when():
    start = np.zeros((1, 1, 1, 2), dtype=np.float16)
    start[..., 0] = 2

    def frame(step: int, moved: float) -> Frame:
        filters = start.copy()
        filters[..., 1] = moved
        return Frame(step, filters, {}, np.zeros((1, 2), dtype=np.float16), [])

    assert film_said([frame(0, 0), frame(3, 0.5), frame(9, 1), frame(40, 1.5)]) == (
        "From step 0 to step 40 the filters moved by 0.75 times their own length; half of that way was behind them "
        "at step 9."
    )
    assert film_said([frame(0, 0)]) == ""
    assert film_said([frame(0, 0), frame(4, 0)]) == "Between the first frame and the last the filters have not moved."
