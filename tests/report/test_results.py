"""The numbers of the report equal those of a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope.report.results import (
    confusion_matrix,
    final_event,
    findings,
    phase_rows,
    predict,
    training_speed,
    wilson_interval,
)
from convscope.types import Event
from tests.planted import small


def test_predictions_and_confusion_equal_one_image_at_a_time():
    network, dataset = small()
    got = predict(network, dataset)
    assert all(module.training for module in network.model.modules())
    assert all(parameter.requires_grad for parameter in network.model.parameters())
    network.model.eval()
    matrix = np.zeros((3, 3), dtype=int)
    loss = 0.0
    with torch.no_grad():
        for index, label in enumerate(dataset.test.labels.tolist()):
            scores = network(dataset.test.images.images[index : index + 1].float() / 255)[0]
            shares = scores.exp() / scores.exp().sum()
            assert got.classes[index] == shares.argmax()
            assert got.confidences[index] == pytest.approx(shares.max().item(), rel=1e-4)
            loss -= shares[label].log().item() / 300
            matrix[label, shares.argmax()] += 1
    assert len(np.unique(got.classes)) > 1
    assert got.loss == pytest.approx(loss, rel=1e-4)
    labels = dataset.test.labels.numpy()
    np.testing.assert_array_equal(confusion_matrix(labels, got.classes, 3), matrix)
    found = findings(matrix, got, labels)
    assert found["accuracy"] == pytest.approx(matrix.trace() / 300)
    assert found["wrong"] == 300 - matrix.trace()
    wrong = [c for c, p, t in zip(got.confidences, got.classes, labels, strict=True) if p != t]
    assert found["sure_wrong"] == pytest.approx(np.mean(wrong), rel=1e-4)
    assert found["totals"] == [int((labels == index).sum()) for index in range(3)]


def test_findings_name_the_likeliest_mistake_and_the_extremes():
    labels = np.array([0] * 10 + [1] * 4 + [3] * 2)
    said = np.array([0] * 8 + [1] * 2 + [1, 1, 0, 3] + [3] * 2)
    network, dataset = small()
    predictions = predict(network, dataset)._replace(classes=said, confidences=np.full(16, 0.5))
    found = findings(confusion_matrix(labels, said, 4), predictions, labels)
    assert found["confused"] == {"true": 1, "said": 0, "count": 1, "of": 4}
    assert (found["best"], found["worst"]) == (3, 1)  # class 2 has no images


def test_findings_without_a_mistake():
    labels = np.array([0, 1])
    network, dataset = small()
    predictions = predict(network, dataset)._replace(classes=labels, confidences=np.array([0.5, 1.0]))
    found = findings(confusion_matrix(labels, labels, 2), predictions, labels)
    assert found["sure_wrong"] is None
    assert found["sure_right"] == 0.75
    assert found["confused"]["count"] == 0


def test_phase_rows_tell_where_each_began_and_ended():
    def at(kind, step, **data):
        return Event(kind, step, 0.0, data)

    phase = {"learning_rate": 0.1, "schedule": "constant"}
    events = [
        at("phase", 0, index=0, optimizer="adam", first_step=0, last_step=20, epoch=0.0, **phase),
        at("eval", 10, epoch=1.0, test_accuracy=0.3),
        at("eval", 20, epoch=2.0, test_accuracy=0.5),
        at("phase", 20, index=1, optimizer="sgd", first_step=20, last_step=60, epoch=2.0, **phase),
        at("eval", 30, epoch=3.0, test_accuracy=0.4),
        at("eval", 60, epoch=6.0, test_accuracy=0.7),
        at("phase", 60, index=2, optimizer="sgd", first_step=60, last_step=70, epoch=6.0, **phase),
    ]
    keys = ("optimizer", "steps", "epochs", "start", "finish")
    assert [tuple(row[key] for key in keys) for row in phase_rows(events)] == [
        ("Adam", 20, 2.0, None, 0.5),
        ("SGD", 40, 4.0, 0.5, 0.7),
        ("SGD", 10, None, 0.7, None),
    ]


def test_interval_holds_95_of_100_draws():
    random = np.random.default_rng(0)
    inside = 0
    for right in random.binomial(50, 0.9, size=2000).tolist():
        low, high = wilson_interval(right, 50)
        inside += low <= 0.9 <= high
    assert 0.93 < inside / 2000 < 0.98
    assert wilson_interval(0, 5)[0] == 0.0
    assert wilson_interval(5, 5)[1] == 1.0


def test_final_event_is_the_one_with_figures():
    interrupted = Event("end", 5, 1.0, {"reason": "interrupted"})
    finished = Event("end", 9, 2.0, {"reason": "finished", "train_accuracy": 1.0})
    assert final_event([interrupted]) is None
    assert final_event([interrupted, finished]) is finished


def test_training_speed_is_the_median():
    events = [Event("train", step, 0.0, {"images_per_second": float(speed)}) for step, speed in enumerate([1, 9, 5])]
    assert training_speed(events) == 5
    assert training_speed([]) is None
