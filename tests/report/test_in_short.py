"""The report in short answers what its reader asks first, with this run's numbers, and says no more than they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convscope.report.in_short import in_short
from convscope.report.results import final_event, findings_on_record, phase_rows
from convscope.types import Event, Picture
from tests.planted import small
from tests.report.test_report import config

MATRIX = np.array([[80, 20, 0], [10, 60, 30], [0, 0, 100]])


def log(accuracies: list[float], losses: list[float], *, train: float = 0.99) -> list[Event]:
    """An evaluation each epoch of ten steps, and the end."""
    phase = {"index": 0, "optimizer": "adam", "learning_rate": 0.001, "schedule": "constant", "epoch": 0.0}
    last = 10 * len(accuracies)
    events = [Event("phase", 0, 0.0, {**phase, "first_step": 0, "last_step": last})]
    for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), start=1):
        data = {"epoch": float(epoch), "test_accuracy": accuracy, "test_loss": loss, "confusion": MATRIX.tolist()}
        events.append(Event("eval", 10 * epoch, epoch * 60.0, data))
    figures = {"test_accuracy": accuracies[-1], "test_loss": losses[-1], "train_accuracy": train, "train_loss": 0.1}
    return [*events, Event("end", last, 75.0, {"reason": "finished", **figures})]


def picture(method: str, layer: str = "", captions: tuple[str, ...] = (), **numbers: Any) -> Picture:
    tiles = np.zeros((1, 3, 2, 2), dtype=np.float32)
    return Picture(
        "a", "A", tiles, np.zeros((1, 2)), "rgb", captions, "", numbers, {"Method": method, "Layer": layer}
    )


PICTURES = [
    picture("top-images", "conv1", commonest_class_share=[0.2, 0.3]),
    picture("top-images", "conv5", commonest_class_share=[0.9, 0.3]),
    picture("patterns-random", "conv1", pattern=[1.0, 1.1], random_pattern=[1.5, 1.6]),
    picture("patterns-random", "conv5", pattern=[2.0, None], random_pattern=[1.5, 1.6]),
    picture("reconstruct", likeness=[0.9, 0.5], random_likeness=[0.9, 0.1]),
    picture("invert", captions=("image", "conv1\n0.05 away", "conv5\n0.1 away"), pixel_error=[0.01, 0.25]),
    picture("attribute", target="cat", logit_without_top=[1.0, 3.0], logit_without_elsewhere=[2.0, 2.0]),
]


def told(events: list[Event], pictures: list[Picture] | None = None, **changes: Any) -> dict[str, str]:
    network, _ = small(class_names=("cat", "dog", "<b>"))
    matrix, found = findings_on_record(events, 300)
    given: dict[str, Any] = {
        "network": network,
        "images": {"name": "folder:/home/me/birds", "train_images": 1200, "test_images": 300},
        "config": config(),
        "events": events,
        "phases": phase_rows(events),
        "end": final_event(events),
        "matrix": matrix,
        "found": found,
        "pictures": PICTURES if pictures is None else pictures,
    }
    return dict(in_short(**{**given, **changes}))


def test_it_says_what_was_trained():
    said = told(log([0.5, 0.8], [1.0, 0.5]))["What was trained?"]
    for words in (
        ", from random weights, on 1,200 images of 3 classes (birds): adam at 0.001 for 2 epochs, in batches of 64",
        "with images varied at random (crop 4). The 300 test images took no part in it.",
    ):
        assert words.replace("adam", "Adam") in said
    frozen = {**config(), "weights": "/there/donor.safetensors"}
    frozen["recipe"] = {**frozen["recipe"], "freeze": True}
    said = told(log([0.5], [1.0]), config=frozen)["What was trained?"]
    assert "from the weights of donor.safetensors, of which only the head was trained" in said


def test_a_phase_on_smaller_images_is_told_apart_from_the_next():
    rise = {"optimizer": "adam", "warmup": 1.0, "resolution": 0.75}
    given = {**config(), "recipe": {**config()["recipe"], "phases": [rise, {"optimizer": "adam", "resolution": 1.0}]}}
    said = told(log([0.5, 0.8], [1.0, 0.5]), config=given)["What was trained?"]
    assert "Adam at 0.001 for 2 epochs on smaller images, in batches" in said
    assert "smaller" not in told(log([0.5, 0.8], [1.0, 0.5]))["What was trained?"]


def test_a_training_that_went_on_for_nothing_is_told_so():
    said = told(log([0.4, 0.7, 0.795, 0.8, 0.79, 0.8], [1.2, 0.8, 0.6, 0.7, 0.9, 1.2]))["How did it go?"]
    assert "always naming the commonest class would give 33.3 %" in said
    assert "It began with 40.0 % after epoch 1 and was within a point of its best, 80.0 %, from epoch 3 of 6" in said
    assert "Test loss was lowest, 0.6, after epoch 3 and rose to 1.2" in said
    assert "Of its training images it knows 99.0 %, 19.0 points more" in said


@pytest.mark.parametrize(("count", "told_so"), [(360, False), (36000, True), (None, False)])
def test_a_loss_has_risen_only_by_more_than_so_few_mistakes_leave_open(count: int | None, told_so: bool):
    images = {"name": "birds", "train_images": None, "test_images": count}
    said = told(log([0.98, 0.98, 0.98], [0.2, 0.145, 0.161]), images=images)["How did it go?"]
    assert ("rose to 0.161" in said) == told_so


def test_a_training_that_still_rose_is_told_so():
    said = told(log([0.4, 0.6, 0.8], [1.2, 0.8, 0.6], train=0.81))["How did it go?"]
    assert "40.0 % after epoch 1, and the last evaluation was the best." in said
    assert "hardly better" in said
    assert "lowest" not in said


def test_it_says_what_was_learned_and_what_the_pictures_prove():
    said = told(log([0.5, 0.8], [1.0, 0.5]))
    learned = said["What did it learn?"]
    assert "It tells “<b>” best (100.0 %) and “dog” worst (60.0 %)" in learned
    assert "most often it takes “dog” for “<b>” (30 of 100 times)" in learned
    assert "0 of 2 in conv1 and 1 of 2 in conv5" in learned
    assert "classes come late" in learned
    assert "from conv1 with an error of 0.01 of the pixels' range, from conv5 with 0.25" in learned
    proved = said["What can the pictures prove, and what not?"]
    for words in (
        "patterns of conv1 excite their channels no further than untrained ones do",
        "patterns of conv5 excite their channels further than",
        "at 1 of 2 depths",
        "for “cat” 1 of 2 attributions point at pixels that matter",
    ):
        assert words in proved


@pytest.mark.parametrize("kinds", [(), ("phase",), ("eval",), ("end",)])
def test_what_is_not_on_record_is_left_out(kinds):
    events = [event for event in log([0.5, 0.8], [1.0, 0.5]) if event.kind in kinds]
    matrix, found = findings_on_record(events, 300)
    said = told(events, [], matrix=matrix, found=found, config={})
    assert "What can the pictures prove, and what not?" not in said
    assert ("How did it go?" in said) == (kinds in (("eval",), ("end",)))
    assert "None" not in " ".join(said.values())
