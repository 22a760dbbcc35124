"""A run's chart as a file of its own shows what the log tells, as words and lines, and says where it comes from."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from PIL import Image

from convscope.errors import UsageError
from convscope.exports.run_chart import CHARTS, save_chart
from convscope.types import Event
from tests.web.served import START, end_event, eval_event, train_event

PHASE = {"index": 0, "optimizer": "adam", "learning_rate": 0.01, "schedule": "constant", "epoch": 0.0}
EVENTS = [
    START,
    Event("phase", 0, 0.0, {**PHASE, "first_step": 0, "last_step": 80}),
    *(train_event(step) for step in range(10, 90, 10)),
    eval_event(40),
    eval_event(80),
    end_event(80),
]
NAMES = ("<cat>", "dog & co")
ABOUT = {"Command": "convscope run 'a & b'", "Weights": "SHA-256 c0ffee"}


@pytest.mark.parametrize("chart", CHARTS)
def test_every_chart_is_a_file_that_stands_alone(tmp_path, chart):
    save_chart(tmp_path / "new" / "x.svg", chart, EVENTS, NAMES, provenance=ABOUT)
    text = (tmp_path / "new" / "x.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "convscope run 'a & b'; Weights: SHA-256 c0ffee" in "".join(root.itertext())
    assert "var(--" not in text
    assert 'href="http' not in text
    words = {
        "curves": "learning",
        "phases": "accuracy",
        "confusion": "dog & co",
        "class-accuracy": "test accuracy",
    }
    assert words[chart] in "".join(root.itertext())
    save_chart(tmp_path / "x.png", chart, EVENTS, NAMES, provenance=ABOUT)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.text["Weights"] == "SHA-256 c0ffee"


def test_the_confusion_is_that_of_the_last_evaluation(tmp_path):
    save_chart(tmp_path / "x.svg", "confusion", EVENTS, NAMES, provenance={})
    words = [each.strip() for each in ElementTree.parse(tmp_path / "x.svg").getroot().itertext()]
    assert {"80", "1", "2"} <= set(words)
    assert "40" not in words


def test_the_same_chart_is_the_same_file(tmp_path):
    for name in ("one.svg", "two.svg"):
        save_chart(tmp_path / name, "curves", EVENTS, NAMES, provenance=ABOUT)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_what_cannot_be_drawn_is_told(tmp_path):
    bare = [replace(event, data={**event.data, "confusion": None}) for event in EVENTS]
    for chart, events, message in (
        ("curve", EVENTS, 'no chart "curve"; allowed: curves, phases, confusion, class-accuracy'),
        ("curves", [START], "no curves to draw: the run's log holds no training yet"),
        ("phases", [], "no phases to draw"),
        ("confusion", bare, "no confusion to draw: the log has no confusion matrix"),
    ):
        with pytest.raises(UsageError, match=message):
            save_chart(tmp_path / "x.svg", chart, events, NAMES, provenance={})
    assert list(tmp_path.iterdir()) == []
