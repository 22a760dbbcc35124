"""What the tests in a browser share: a folder that a server watches, a page that must stay clean, runs by hand."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import expect

from convscope.training.folder import FORMAT, create_run
from convscope.training.frames import FilmInfo, Frame, write_frame, write_info
from convscope.types import Event
from tests.patience import PATIENCE

expect.set_options(timeout=1000 * PATIENCE)

# Closes a dialog and presses a key before the browser draws again, while the focus is still on the dialog's button.
CLOSE_AND_PRESS = """(dialog, key) => {
  dialog.querySelector("button").click();
  return !document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
}"""


class Watched:
    """A folder of runs, the server that watches it, and the browser."""

    def __init__(self, folder: Path, browser: Any) -> None:
        self.folder = folder / "runs"
        self.folder.mkdir()
        self.browser = browser
        self.port = free_port()
        self._environment = os.environ | {"XDG_STATE_HOME": str(folder / "state")}
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        flags = ["--port", str(self.port), "--no-open"]
        command = [sys.executable, "-m", "convscope", "watch", str(self.folder), *flags]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environment)
        assert self._process.stdout
        self.url = self._process.stdout.readline().removeprefix("url: ").strip()
        assert self.url.startswith("http"), self.url

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def opened(watched: Watched, context: Any, *, clean: bool = True) -> Generator[Any]:
    """A page that asks no other address and, when clean, says nothing in the console."""
    context.set_default_timeout(1000 * PATIENCE)
    told: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(watched.url, wait_until="commit")
    expect(page.locator("#connection")).to_have_text("live")
    try:
        yield page
    finally:
        page.close()
    own = (f"http://127.0.0.1:{watched.port}/", f"blob:http://127.0.0.1:{watched.port}/", "data:")
    foreign = [url for url in asked if not url.startswith(own)]
    assert foreign == [], foreign
    if clean:
        assert told == [], told


def choose(page: Any, *names: str) -> None:
    """Show these runs and no others, by the address's hash."""
    for name in names:
        page.locator(".run .name").get_by_text(name, exact=True).wait_for()
    page.evaluate(
        """async (names) => {
            const { runs } = await (await fetch("/api/runs")).json();
            const ids = runs.filter(({ name }) => names.includes(name)).map(({ id }) => id);
            location.hash = `runs=${ids}`;
        }""",
        names,
    )


def checked(page: Any) -> list[str]:
    items = page.locator(".run").all()
    return [item.locator(".name").inner_text() for item in items if item.get_by_role("checkbox").is_checked()]


def wait_until(page: Any, expression: str) -> None:
    """Wait until the JavaScript holds; as a function, since the page's policy forbids evaluating text."""
    page.wait_for_function(f"() => ({expression})", polling=50)


def wait_for_steps(page: Any, kind: str, steps: list[int]) -> None:
    """Wait until the loss chart's one curve of a kind has exactly these steps."""
    page.wait_for_function(
        """([kind, steps]) => {
            const found = document.getElementById("plot-loss")?.data?.filter(({ name }) => name === kind) ?? [];
            return found.length === 1 && String(found[0].x) === String(steps);
        }""",
        arg=[kind, steps],
        polling=50,
    )


def pixels(page: Any, selector: str) -> str:
    """The picture's pixels, as the hash of them."""
    return page.locator(selector).evaluate(
        """async (image) => {
            await image.decode();
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const pen = canvas.getContext("2d");
            pen.drawImage(image, 0, 0);
            const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
            return [...new Uint8Array(await crypto.subtle.digest("SHA-256", data))].join();
        }"""
    )


def write_run(
    path: Path,
    steps: range,
    *,
    loss: float = 1.0,
    frames: tuple[int, ...] = (),
    class_names: tuple[str, str] = ("a", "b"),
    alarm: str = "",
) -> None:
    """A run folder as a training writes it, without the training."""
    phases = [{"optimizer": "adam", "learning_rate": 0.1}]
    recipe = {"name": "small", "model": "tiny", "phases": phases, "seed": 0}
    dataset = {"name": "digits", "class_names": list(class_names), "fingerprint": "f"}
    config = dict.fromkeys(("command", "weights", "device", "precision", "versions", "machine", "report"))
    started = f"2026-01-01T00:00:{len(list(path.parent.iterdir())):02}+00:00"
    create_run(path, config | {"format": FORMAT, "started": started, "recipe": recipe, "dataset": dataset, "seed": 0})
    phase = {**phases[0], "index": 0, "schedule": "constant", "first_step": 0, "last_step": 1000, "epoch": 0.0}
    append(path, Event("start", 0, 0.0, start_data()), Event("phase", 0, 0.0, phase))
    if frames:
        random = np.random.default_rng(0)
        images = random.integers(0, 255, (1, 3, 8, 8), np.uint8)
        write_info(path, FilmInfo("conv1", ["conv1"], images, [7], [0]))
        relu = {"name": "relu", "kind": "ReLU", "channels": 4, "active": 0.25, "silent": 1}
        for step in frames:
            filters, maps = random.normal(size=(4, 3, 3, 3)), random.normal(size=(1, 4, 8, 8))
            write_frame(
                path,
                Frame(step, filters.astype("f2"), {"conv1": maps.astype("f2")}, np.array([[0, 2]], "f2"), [relu]),
            )
    if alarm:
        append(path, Event("alarm", 0, 0.0, {"what": alarm, "layer": alarm, "message": alarm}))
    for step in sorted({*steps, *frames}):
        if step in frames:
            append(path, Event("film", step, step / 10, {"weights": False, "bytes": 1, "seconds": 0.2 / len(frames)}))
        if step in steps:
            append(path, train_event(step, loss=loss))
        if step and step % 50 == 0:
            append(path, eval_event(step))


def start_data(*, resumed: bool = False) -> dict[str, Any]:
    return {"resumed": resumed, "steps": 1000, "steps_per_epoch": 100, "optimizers": ["adam"]}


def train_event(step: int, *, loss: float = 1.0) -> Event:
    figures = {"loss": loss, "accuracy": 0.5, "learning_rate": 0.1, "images_per_second": 100.0}
    return Event("train", step, step / 10, {"epoch": step / 100, "phase": 0, **figures})


def eval_event(step: int) -> Event:
    figures = {"train_loss": 1.0, "train_accuracy": 0.6, "test_loss": 1.2, "test_accuracy": 0.5}
    matrix = [[100, 100], [0, 0]] if step <= 50 else [[0, 100], [0, 100]]
    return Event("eval", step, step / 10, {"epoch": step / 100, "phase": 0, **figures, "confusion": matrix})


def append(run: Path, *events: Event) -> None:
    """Write the events as a training does: each line at once."""
    with (run / "events.jsonl").open("ab", buffering=0) as file:
        for event in events:
            file.write(json.dumps(asdict(event)).encode() + b"\n")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
