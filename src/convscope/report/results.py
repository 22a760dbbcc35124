"""What the report's words and charts are about: predictions, mistakes, phases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convscope.film.story import optimizer_name
from convscope.hooks import frozen_eval, like_model
from convscope.methods.surveys.survey import forward_batch
from convscope.types import Dataset, Event, Network

SURE = 0.9
"""A probability from which on an answer is called sure."""

Z = 1.959964
"""So many deviations to both sides lie 95 % of a normal distribution."""


class Predictions(NamedTuple):
    """What the network says of every test image, in order."""

    classes: np.ndarray  # (N,) int64
    confidences: np.ndarray  # (N,) in [0, 1]: the probability of that class
    loss: float  # the mean cross-entropy


def predict(network: Network, dataset: Dataset) -> Predictions:
    """What the network says of every test image, in evaluation mode."""
    parts = torch.arange(len(dataset.test.labels)).split(forward_batch(network.input_size))
    classes: list[Tensor] = []
    confidences: list[Tensor] = []
    loss = 0.0
    with frozen_eval(network.model), torch.inference_mode():
        for indices, images in zip(parts, dataset.test.images.batches(parts), strict=True):
            scores = network(like_model(network.model, images) / 255).float().log_softmax(1).cpu()  # (B, classes)
            best = scores.max(1)
            classes.append(best.indices)
            confidences.append(best.values.exp())
            loss -= float(scores.double().gather(1, dataset.test.labels[indices, None]).sum())
    return Predictions(
        torch.cat(classes).numpy(), torch.cat(confidences).numpy(), loss / max(len(dataset.test.labels), 1)
    )


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """How often each class (row) was taken for each (column): (count, count) int64.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    return np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)


def phase_rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Each phase with the test accuracy at which it began (None for the first) and ended, and its gain an epoch."""
    evals = [event for event in events if event.kind == "eval"]
    rows: list[dict[str, Any]] = []
    for phase in [event.data for event in events if event.kind == "phase"]:
        before = [event.data for event in evals if event.step <= phase["first_step"]]
        within = [event for event in evals if phase["first_step"] < event.step <= phase["last_step"]]
        row = {
            **phase,
            "optimizer": optimizer_name(phase),
            "steps": phase["last_step"] - phase["first_step"],
            "start": before[-1]["test_accuracy"] if before else None,
            "finish": within[-1].data["test_accuracy"] if within else None,
            "epochs": within[-1].data["epoch"] - phase["epoch"] if within else None,
        }
        rows.append(row)
    return rows


def findings(matrix: np.ndarray, predictions: Predictions, labels: np.ndarray) -> dict[str, Any]:
    """The numbers that the page's words are about."""
    right, sure = predictions.classes == labels, predictions.confidences >= SURE
    totals = np.maximum(matrix.sum(axis=1), 1)
    errors = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    true, said = np.unravel_index(int((errors / totals[:, None]).argmax()), errors.shape)
    present = np.flatnonzero(matrix.sum(axis=1))
    shares = np.diag(matrix) / totals
    return {
        "accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "loss": predictions.loss,
        "total": len(right),
        "wrong": int((~right).sum()),
        "sure_wrong": float(predictions.confidences[~right].mean()) if not right.all() else None,
        "sure_right": float(predictions.confidences[right].mean()) if right.any() else None,
        "sure_all": float(predictions.confidences.mean()) if len(right) else None,
        "sure": int(sure.sum()),
        "sure_wrong_of": int((sure & ~right).sum()),
        "confused": {"true": int(true), "said": int(said), "count": int(errors[true, said]), "of": int(totals[true])},
        "best": int(present[shares[present].argmax()]),
        "worst": int(present[shares[present].argmin()]),
        "shares": shares.tolist(),
        "totals": matrix.sum(axis=1).tolist(),
    }


def findings_on_record(events: Sequence[Event], total: int) -> tuple[np.ndarray | None, dict[str, Any]]:
    """The last confusion matrix on record and the same numbers, of `total` test images that are gone.

    The matrix is None where there is none; so is each number that is on no record, or left out where only the matrix
    tells it.
    """
    evaluations = [event.data for event in events if event.kind in ("eval", "end") and "test_accuracy" in event.data]
    known = next((event.data for event in reversed(events) if event.data.get("confusion")), None)
    last = evaluations[-1] if evaluations else {}
    found: dict[str, Any] = {"accuracy": last.get("test_accuracy"), "loss": last.get("test_loss")}
    if known is None:
        share = found["accuracy"]
        interval = wilson_interval(round(share * total), total) if share is not None and total else None
        return None, {**found, "interval": interval, "total": total, "wrong": 0}
    matrix = np.array(known["confusion"], dtype=np.int64)
    right, total = int(np.diag(matrix).sum()), int(matrix.sum())
    said = np.repeat(np.indices(matrix.shape)[1].ravel(), matrix.ravel())
    labels = np.repeat(np.indices(matrix.shape)[0].ravel(), matrix.ravel())
    numbers = findings(matrix, Predictions(said, np.zeros(total), 0.0), labels)
    unsaid = dict.fromkeys(("sure_wrong", "sure_right", "sure_all"))
    unknown = {**unsaid, "accuracy": right / total, "loss": known["test_loss"]}
    return matrix, numbers | unknown


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval for a share of `right` in `total`, after Wilson 1927.

    >>> tuple(round(bound, 3) for bound in wilson_interval(869, 1000))
    (0.847, 0.889)
    """
    middle = (right + Z * Z / 2) / (total + Z * Z)
    half = Z / (total + Z * Z) * math.sqrt(right * (total - right) / total + Z * Z / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def final_event(events: Sequence[Event]) -> Event | None:
    """The event that ended the training, with its final figures."""
    return next((e for e in reversed(events) if e.kind == "end" and "train_accuracy" in e.data), None)


def training_speed(events: Sequence[Event]) -> float | None:
    """The median of images a second in training."""
    speeds = [event.data["images_per_second"] for event in events if event.data.get("images_per_second")]
    return float(np.median(speeds)) if speeds else None
