"""Charts are the same each time, safe to put into one page, and say what the events say."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from convscope.report.charts import class_accuracy, confusion, curves, png, svg
from convscope.types import Event


def run_events() -> list[Event]:
    events = [Event("start", 0, 0.0, {"resumed": False})]
    for index, (optimizer, rate, first) in enumerate([("adam", 0.001, 0), ("sgd", 0.1, 20)]):
        phase = {"index": index, "optimizer": optimizer, "learning_rate": rate, "schedule": "constant"}
        events.append(
            Event(
                "phase",
                first,
                first * 0.1,
                {**phase, "first_step": first, "last_step": first + 20, "epoch": first / 10},
            )
        )
        for step in range(first + 5, first + 21, 5):
            place = {"epoch": step / 10, "phase": index}
            values = {
                "loss": 2 / step,
                "accuracy": step / 50,
                "learning_rate": rate,
                "images_per_second": 100.0 + step,
            }
            events.append(Event("train", step, step * 0.1, {**place, **values}))
            if step % 10 == 0:
                values = {
                    "train_loss": 3 / step,
                    "train_accuracy": step / 60,
                    "test_loss": 0.5,
                    "test_accuracy": step / 80,
                }
                events.append(Event("eval", step, step * 0.1, {**place, **values}))
    final = {"train_accuracy": 0.9, "train_loss": 0.2, "test_accuracy": 0.5, "test_loss": 0.5}
    events.append(Event("checkpoint", 40, 4.0, {"weights_sha256": "c0ffee"}))
    events.append(Event("end", 40, 4.0, {"reason": "finished", **final}))
    return events


MATRIX = np.array([[8, 2, 0], [0, 5, 5], [1, 0, 9]])
HOSTILE = ("<script>alert(1)</script>", '$\\frac" onload="x', "中 & co")
CHARTS = {
    "curves": lambda: curves(run_events()),
    "confusion": lambda: confusion(MATRIX, HOSTILE),
    "classes": lambda: class_accuracy(MATRIX, HOSTILE),
}


def lines(axes) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def test_curves_draw_every_event_and_border_the_phases():
    figure = curves(run_events())
    ribbon, loss, accuracy, rate = figure.axes
    assert lines(accuracy)["test"] == [(step, step / 80) for step in (10, 20, 30, 40)]
    assert lines(accuracy)["train, batches"] == [(step, step / 50) for step in range(5, 41, 5)]
    assert lines(accuracy)["train, epoch so far"] == [(step, step / 60) for step in (10, 20, 30, 40)]
    assert lines(accuracy)["train, afterwards"] == [(40, 0.9)]
    assert lines(loss)["train, afterwards"] == [(40, 0.2)]
    assert [text.get_text() for text in ribbon.texts] == ["Adam, 0.001, constant", "SGD, 0.1, constant"]
    for axes in (loss, accuracy, rate):
        borders = [points for points in lines(axes).values() if points[0][0] == points[-1][0] == 20]
        assert len(borders) == 1
    assert rate.get_yscale() == "log"
    (epochs,) = ribbon.child_axes
    figure.draw_without_rendering()
    assert epochs.get_xlim()[1] == pytest.approx(ribbon.get_xlim()[1] / 10)


@pytest.mark.parametrize("kinds", [(), ("start",), ("phase", "train"), ("eval",), ("end",)])
def test_curves_of_a_run_that_only_began(kinds):
    figure = curves([event for event in run_events() if event.kind in kinds])
    assert svg(figure, name="curves", label="")


def test_confusion_writes_counts_and_marks_what_is_right():
    (axes,) = confusion(MATRIX, HOSTILE).axes
    assert {(text.get_position(), text.get_text(), text.get_weight()) for text in axes.texts} == {
        ((x, y), str(MATRIX[y, x]), "bold" if x == y else "normal")
        for y in range(3)
        for x in range(3)
        if MATRIX[y, x]
    }


def test_class_accuracy_is_sorted_and_leaves_out_classes_without_images():
    (axes,) = class_accuracy(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 4]]), ("half", "none", "all")).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "half"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 0.5]
    assert [text.get_text() for text in axes.texts] == ["100.0%", "50.0%"]


def test_many_classes_show_the_best_and_the_worst():
    right = np.arange(50)
    matrix = np.diag(right)
    matrix[:, 0] += 100 - right
    (axes,) = class_accuracy(matrix, [f"c{index}" for index in range(50)]).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 40
    assert labels[:2] == ["c0", "c49"]
    assert labels[-1] == "c1"
    assert svg(confusion(matrix, ["a"] * 50), name="x", label="")


@pytest.mark.parametrize("name", CHARTS)
def test_svg_is_the_same_each_time_and_well_formed(name):
    first, second = (svg(CHARTS[name](), name=name, label='a "label" & more') for _ in range(2))
    assert first == second
    root = ElementTree.fromstring(first)
    assert root.get("aria-label") == 'a "label" & more'
    assert not [element for element in root.iter() if element.tag.endswith("script") or element.get("onload")]
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(each.startswith(f"{name}-") for each in ids)
    used = re.findall(r'(?:url\(#|href="#)([^)"]+)', first)
    assert used
    assert set(used) <= set(ids)
    assert "var(--ink)" in first
    assert png(CHARTS[name]()) == png(CHARTS[name]())


@pytest.mark.parametrize("name", ["confusion", "classes"])
def test_class_names_appear_as_they_are(name):
    text = "".join(ElementTree.fromstring(svg(CHARTS[name](), name=name, label="")).itertext())
    for each in HOSTILE:
        assert (each if len(each) <= 18 else each[:17]) in text


def test_png_is_on_white():
    image = Image.open(io.BytesIO(png(CHARTS["curves"]()))).convert("RGB")
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_charts_leave_matplotlib_as_found(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 33.0)
    before = dict(matplotlib.rcParams)
    small = png(CHARTS["classes"]())
    assert dict(matplotlib.rcParams) == before
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 10.0)
    assert png(CHARTS["classes"]()) == small, "the machine's own settings change the chart"
