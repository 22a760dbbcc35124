"""In a notebook the curves are drawn while the events pass through; elsewhere they only pass."""

import io
import sys
import types

import numpy as np
import pytest
from PIL import Image

from convscope.report import live_curves as module
from convscope.report.live_curves import live_curves
from convscope.types import Event
from tests.training.conftest import planted_dataset


def run_events(count=40):
    yield Event("start", 0, 0.0, {"resumed": False})
    phase = {"index": 0, "optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant", "epoch": 0.0}
    yield Event("phase", 0, 0.0, {**phase, "first_step": 0, "last_step": 10 * count})
    for step in range(10, 10 * count + 1, 10):
        values = {"loss": 1 / step, "accuracy": 0.5, "learning_rate": 0.1, "images_per_second": 9.0}
        yield Event("train", step, step / 10, {"epoch": step / 50, "phase": 0, **values})


class Cell:
    """A notebook's cell: what its current output is, and how often it was replaced."""

    def __init__(self, monkeypatch):
        self.shown: list[bytes] = []
        ipython, displays = types.ModuleType("IPython"), types.ModuleType("IPython.display")
        ipython.version_info = (9, 0)  # matplotlib asks for it
        ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
        displays.Image = lambda data, format, width: data
        displays.display = self.display
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", displays)
        self.outputs = 0

    def display(self, data, display_id):
        assert display_id
        self.outputs += 1
        self.shown.append(data)
        return types.SimpleNamespace(update=self.shown.append)


@pytest.fixture
def cell(monkeypatch):
    return Cell(monkeypatch)


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on only when a test says so."""
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: now.seconds)
    return now


def test_outside_a_notebook_events_only_pass(monkeypatch):
    monkeypatch.setattr(module.charts, "curves", lambda events: pytest.fail("drawn"))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert list(live_curves(run_events())) == list(run_events())


def test_a_terminal_ipython_is_no_notebook(cell, monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: types.SimpleNamespace())
    assert list(live_curves(run_events())) == list(run_events())
    assert not cell.shown


def test_the_events_pass_and_one_output_is_replaced(cell, clock):
    passed = []
    for event in live_curves(run_events(50), seconds=2.0):
        passed.append(event)
        clock.seconds += 0.1
    assert passed == list(run_events(50))
    assert cell.outputs == 1
    assert len(cell.shown) == 4  # after 0, 2 and 4 seconds, and at the end
    pictures = [np.asarray(Image.open(io.BytesIO(png))) for png in cell.shown]
    assert all(picture.shape == pictures[0].shape for picture in pictures)
    assert len(set(cell.shown)) == 4


def test_slow_drawing_is_rarer(cell, clock, monkeypatch):
    def slow(figure):
        clock.seconds += 1.0
        return b"png"

    monkeypatch.setattr(module.charts, "curves", lambda events: None)
    monkeypatch.setattr(module.charts, "png", slow)
    for _ in live_curves(run_events(400), seconds=2.0):
        clock.seconds += 0.1
    drawing, training = len(cell.shown) * 1.0, 40.0
    assert drawing <= 0.05 * training + 2  # and the first and the last


def test_the_end_is_drawn_however_it_comes(cell, clock):
    def fails():
        yield from run_events()
        raise RuntimeError("the training's own")

    with pytest.raises(RuntimeError, match="the training's own"):
        list(live_curves(fails()))
    assert len(cell.shown) == 2
    left = live_curves(run_events())
    for _ in range(10):
        next(left)
    left.close()
    assert len(cell.shown) == 4


def test_of_many_events_some_are_drawn_and_the_extremes_among_them(cell, clock, monkeypatch):
    drawn = []
    monkeypatch.setattr(module.charts, "curves", drawn.append)
    monkeypatch.setattr(module.charts, "png", lambda figure: b"")
    events = list(run_events(5000))
    events[1234] = Event("train", events[1234].step, 0.0, {**events[1234].data, "loss": 77.0})
    list(live_curves(events))
    train = [event for event in drawn[-1] if event.kind == "train"]
    assert len(train) <= 4 * module.POINTS
    assert max(event.data["loss"] for event in train) == 77.0
    assert drawn[-1][0].kind == "start"


EXAMPLE = """
import matplotlib.pyplot as plt
from IPython.display import clear_output
from convscope import Phase, Recipe, build_model, load_dataset, train

recipe = Recipe("mine", "Adam alone", "resnet8", (Phase("adam", 0.003, epochs=5),))
losses = {}
for event in train(build_model("resnet8", class_count=10, seed=0), load_dataset("digits"), recipe):
    if event.kind == "train":
        losses[event.step] = event.data["loss"]
        clear_output(wait=True)
        plt.plot(losses.keys(), losses.values())
        plt.show()
"""


def test_ten_lines_of_ones_own_do_it_too(cell, monkeypatch):
    """The example of the docs, in few steps on few images."""
    curves, cleared = [], []
    sys.modules["IPython.display"].clear_output = lambda wait: cleared.append(wait)
    monkeypatch.setattr("matplotlib.pyplot.plot", lambda x, y: curves.append((list(x), list(y))))
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    monkeypatch.setattr("convscope.load_dataset", lambda name: planted_dataset())
    exec(EXAMPLE.replace("epochs=5),)", "steps=20),), batch_size=8"), {})
    assert curves[-1][0] == [6, 10, 12, 18, 20]  # every ten steps, and at the end of each epoch
    assert all(0 < loss < 10 for loss in curves[-1][1])
    assert cleared == [True] * 5
