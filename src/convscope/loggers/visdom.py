"""Visdom: curves, texts and pictures on its server, by plain requests: its package does not install everywhere."""

from __future__ import annotations

import base64
import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np
from PIL import Image

from convscope.errors import ResourceError
from convscope.loggers.follow import FramePixels
from convscope.loggers.readings import as_text, scalars, sentence
from convscope.thinning import thin_rows
from convscope.types import Event

SECONDS = 10.0
"""How long the server may take for an answer."""

POINTS = 1000
"""About so many points of a curve are sent, however long it is: each time the whole of it, which costs the server
less than appending, and is right again after the server or the training was started anew."""

WINDOWS = {
    "loss": ("loss/batches", "loss/train", "loss/test"),
    "accuracy": ("accuracy/batches", "accuracy/train", "accuracy/test"),
    "learning rate": ("learning_rate",),
    "images per second": ("images_per_second",),
}
LOGARITHMIC = "loss"


class _Curve(NamedTuple):
    """One curve's points so far."""

    steps: list[int]
    values: list[float]


class Visdom:
    """One environment of the server, named after the run's folder; drawn anew, from the log, at a resumption."""

    delay = 0.0

    def __init__(
        self, run: Path, config: Mapping[str, Any], memory: dict[str, Any], step: int, frame_pixels: FramePixels
    ) -> None:
        """Find the server. Raises ResourceError where there is none."""
        server = os.environ.get("VISDOM_SERVER", "http://localhost")
        server = (server if "://" in server else f"http://{server}").rstrip("/")
        port = os.environ.get("VISDOM_PORT", "8097")
        self._server = server if urlsplit(server).port else f"{server}:{port}"
        self._environment = run.name
        self._frame_pixels = frame_pixels
        self._curves: dict[str, _Curve] = {name: _Curve([], []) for names in WINDOWS.values() for name in names}
        self._borders: list[tuple[int, int]] = []
        self._sentences: list[str] = []
        self._pictures: set[str] = set()
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.told: dict[str, int] = {}
        self.where = f"{self._server}/env/{quote(run.name)}"
        self._text("run.json", as_text(config) or run.name)

    def log(self, events: Sequence[Event]) -> None:
        """Draw the windows that the events change."""
        changed: set[str] = set()
        for event in events:
            numbers = scalars(event)
            for name, value in numbers.items():
                if name in self._curves:
                    self._curves[name].steps.append(event.step)
                    self._curves[name].values.append(value)
                    changed.add(name)
            if event.kind == "phase":
                self._borders.append((event.data["first_step"], event.data["last_step"]))
                changed |= self._curves.keys()
            if said := sentence(event):
                self._sentences.append(f"step {event.step}: {said}")
                self._text("phases and alarms", "\n".join(self._sentences))
            if event.kind == "end" and numbers:
                lines = [f"{name.removeprefix('final/')}: {value:.5g}" for name, value in numbers.items()]
                self._text("final figures", "\n".join(lines))
            if event.kind == "film":
                for name, pixels in self._frame_pixels(event.step).items():
                    self._picture(name, pixels, event.step)
        for window, names in WINDOWS.items():
            if not changed.isdisjoint(names):
                self._plot(window, names)

    def close(self, reason: str) -> None:
        """Ask the server to keep the environment on its disk."""
        self._text("status", reason)
        self._send("save", {"data": [self._environment]})

    def _plot(self, window: str, names: Sequence[str]) -> None:
        traces: list[dict[str, Any]] = []
        for name in names:
            curve = self._curves[name]
            if curve.steps:
                rows = thin_rows(np.array(curve.steps, float), {name: np.array(curve.values, float)}, points=POINTS)
                x, y = ([points[row] for row in rows] for points in curve)
                title = name.rpartition("/")[2].replace("_", " ")
                traces.append({"type": "scatter", "mode": "lines", "name": title, "x": x, "y": y})
        layout: dict[str, Any] = {
            "title": {"text": window},
            "showlegend": len(traces) > 1,
            "xaxis": {"title": {"text": "step"}},
            "yaxis": {"type": "log" if window == LOGARITHMIC else "linear"},
            "shapes": [_shade(first, last) for first, last in self._borders[1::2]],
        }
        if traces:
            self._send("events", {"win": window, "data": traces, "layout": layout, "opts": {"title": window}})

    def _text(self, window: str, text: str) -> None:
        content = f"<pre>{escape(text)}</pre>"
        self._send(
            "events", {"win": window, "data": [{"type": "text", "content": content}], "opts": {"title": window}}
        )

    def _picture(self, window: str, pixels: np.ndarray, step: int) -> None:
        """Add a picture to a window with a slider; the first one begins it anew."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        content = {"src": source, "caption": f"step {step}"}
        options = {"title": window, "width": pixels.shape[1], "height": pixels.shape[0]}
        message = {"win": window, "data": [{"type": "image_history", "content": content}], "opts": options}
        goes_on = window in self._pictures and self._send("win_exists", {"win": window}) == "true"
        self._send("update" if goes_on else "events", message)
        self._pictures.add(window)

    def _send(self, endpoint: str, message: Mapping[str, Any]) -> str:
        data = json.dumps({"eid": self._environment, **message}).encode()
        try:
            with self._open(f"{self._server}/{endpoint}", data, SECONDS) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            error.close()
            raise ResourceError(f"the Visdom server at {self._server} refuses {endpoint}: {error}") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            how = "start one with: visdom; or set VISDOM_SERVER and VISDOM_PORT"
            raise ResourceError(f"no Visdom server at {self._server} ({reason}); {how}") from error


def _shade(first: int, last: int) -> dict[str, Any]:
    """Every second phase as a grey stretch behind the curves."""
    place = {"xref": "x", "yref": "paper", "x0": first, "x1": last, "y0": 0, "y1": 1}
    return {"type": "rect", **place, "fillcolor": "#22242b", "opacity": 0.08, "line": {"width": 0}}
