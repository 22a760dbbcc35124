"""The dashboard's page in a real Chromium, with a server of its own that is killed and started again."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convscope.training.folder import FORMAT, create_run, lock_run
from convscope.training.frames import FilmInfo, Frame, write_frame, write_info
from convscope.types import Event

playwright = pytest.importorskip("playwright.sync_api")

FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATIENCE = 20_000
"""Milliseconds that the page has for anything, on a machine that is busy with other things."""

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)<script>"


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
        command = [
            sys.executable,
            "-m",
            "convscope",
            "watch",
            str(self.folder),
            "--port",
            str(self.port),
            "--no-open",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environment)
        assert self._process.stdout
        self.url = self._process.stdout.readline().removeprefix("url: ").strip()
        assert self.url.startswith("http"), self.url

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with playwright.sync_playwright() as driver:
        found = shutil.which("chromium") or driver.chromium.executable_path
        if not Path(found).is_file():
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        sandbox = ["--no-sandbox"] if os.name != "nt" and os.getuid() == 0 else []
        browser = driver.chromium.launch(executable_path=found, args=[*FLAGS, *sandbox])
        watched = Watched(tmp_path_factory.mktemp("watched"), browser)
        write_run(watched.folder / "first", range(10, 210, 10), loss=2.0)
        write_run(watched.folder / "second", range(10, 110, 10), loss=1.0)
        write_run(watched.folder / "filmed", range(10, 110, 10), frames=(0, 1, 10, 100))
        try:
            watched.start()
            yield watched
        finally:
            watched.kill()
            browser.close()


@pytest.fixture(scope="module")
def profile(watched: Watched) -> Iterator[Any]:
    """One profile of the browser for most pages: plotly is large, and only loaded once."""
    context = watched.browser.new_context(viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(watched: Watched, profile: Any) -> Iterator[Any]:
    """A page that must stay clean."""
    with opened(watched, profile) as page:
        yield page
        page.close()


@contextmanager
def opened(watched: Watched, context: Any, *, clean: bool = True) -> Iterator[Any]:
    """A page that asks no other address and, when clean, says nothing in the console."""
    context.set_default_timeout(PATIENCE)
    told: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(watched.url, wait_until="commit")
    playwright.expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
    yield page
    own = (f"http://127.0.0.1:{watched.port}/", f"blob:http://127.0.0.1:{watched.port}/", "data:")
    assert [url for url in asked if not url.startswith(own)] == []
    if clean:
        assert told == []


def test_points_show_when_they_are_written(watched: Watched, page: Any) -> None:
    run = watched.folder / "first"
    with lock_run(run):
        choose(page, "first")
        wait_for_steps(page, "train", list(range(10, 210, 10)))
        for step in (210, 220):
            append(run, train_event(step, loss=1.5))
            wait_for_steps(page, "train", list(range(10, step + 10, 10)))
        append(run, eval_event(220))
        wait_for_steps(page, "test", [50, 100, 150, 200, 220])
    item = page.locator(".run", has_text="first")
    playwright.expect(item).to_contain_text("step 220 of 1,000 · epoch 2.2 of 10", timeout=PATIENCE)


def test_page_goes_on_after_the_server_was_killed(watched: Watched, profile: Any) -> None:
    run = watched.folder / "killed"
    write_run(run, range(10, 60, 10))
    with opened(watched, profile, clean=False) as page, lock_run(run):
        choose(page, "killed")
        wait_for_steps(page, "train", [10, 20, 30, 40, 50])
        append(run, train_event(60))
        wait_for_steps(page, "train", [10, 20, 30, 40, 50, 60])
        watched.kill()
        append(run, train_event(70))
        playwright.expect(page.locator("#connection")).to_contain_text("not connected since", timeout=PATIENCE)
        watched.start()
        append(run, train_event(80))
        wait_for_steps(page, "train", list(range(10, 90, 10)))
        playwright.expect(page.locator("#connection")).to_have_text("live", timeout=PATIENCE)
        append(run, train_event(90))
        wait_for_steps(page, "train", list(range(10, 100, 10)))


def test_resumption_takes_points_back(watched: Watched, page: Any) -> None:
    run = watched.folder / "resumed"
    write_run(run, range(10, 60, 10))
    with lock_run(run):
        choose(page, "resumed")
        wait_for_steps(page, "train", [10, 20, 30, 40, 50])
        log = run / "events.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= 30]
        log.write_bytes(b"".join(kept))
        append(run, Event("start", 30, 3.0, start_data(resumed=True)))
        append(run, train_event(35))
        wait_for_steps(page, "train", [10, 20, 30, 35])


def test_points_are_neither_lost_nor_doubled(page: Any) -> None:
    known = {"generation": "g", "position": 100, "total": 2, "train": {"step": [10, 20]}, "eval": {"step": []}}
    cases = [  # what the stream tells (generation, start, end, steps); the steps then; how often they were asked for
        ([("g", 100, 150, [30])], [10, 20, 30], 1),
        ([("g", 100, 150, [30]), ("g", 100, 150, [30])], [10, 20, 30], 1),  # told twice
        ([("g", 0, 100, [10, 20])], [10, 20], 1),  # known before
        ([("g", 0, 100, [25])], [10, 20], 1),  # as above, by its place alone
        ([("g", 0, 150, [10, 20, 30]), ("g", 150, 200, [40])], [10, 20, 30, 40], 1),  # half of it known
        ([("g", 100, 130, [25]), ("g", 130, 150, [30])], [10, 20, 25, 30], 1),
        ([("g", 120, 150, [30])], [10, 20], 2),  # something was missed
        ([("h", 100, 150, [30])], [10, 20], 2),  # the log is another than it was
    ]
    script = """async ([known, cases]) => {
        const { SeriesStore } = await import("/assets/dashboard/series.js");
        const { fetch } = globalThis;
        const asked = cases.map(() => 0);
        globalThis.fetch = (address) => {
            const [, place] = address.match(/case([0-9]+).series/) ?? [];
            if (place) asked[place] += 1;
            return place ? Promise.resolve(new Response(JSON.stringify(known))) : fetch(address);
        };
        const pause = (time) => new Promise((done) => setTimeout(done, time));
        const steps = cases.map(async ([told], place) => {
            const store = new SeriesStore(() => {});
            store.want([{ id: `case${place}`, status: "running" }], { axis: "step", zoom: null });
            await pause(50);
            for (const [generation, start, end, step] of told) {
                store.receive({ run: `case${place}`, generation, start, end, train: { step } });
            }
            await pause(600); // longer than the store waits between two requests
            return store.get(`case${place}`).series.train.step;
        });
        return (await Promise.all(steps)).map((each, place) => [each, asked[place]]);
    }"""
    assert page.evaluate(script, [known, cases]) == [[steps, asked] for _, steps, asked in cases]


def test_slider_changes_filters(page: Any) -> None:
    choose(page, "filmed")
    filters = page.locator(".filters img")
    playwright.expect(filters).to_have_attribute("alt", re.compile("step 100"), timeout=PATIENCE)
    last = pixels(page, ".filters img")
    page.locator("#step").focus()
    page.keyboard.press("Home")
    playwright.expect(filters).to_have_attribute("alt", re.compile("step 0"), timeout=PATIENCE)
    first = pixels(page, ".filters img")
    assert first != last
    page.keyboard.press("ArrowRight")
    playwright.expect(filters).to_have_attribute("alt", re.compile("step 1 "), timeout=PATIENCE)
    assert pixels(page, ".filters img") not in (first, last)
    assert page.locator("#step").get_attribute("aria-valuetext") == "step 1 · epoch 0"
    shape = "document.getElementById('plot-loss').layout.shapes[0]"
    wait_until(page, f"{shape}.x0 === 1 && {shape}.visible")
    playwright.expect(page.locator(".says")).to_contain_text("It says b (88 %): it is a.", timeout=PATIENCE)
    playwright.expect(page.locator(".layers tbody tr")).to_have_text(["relu25 %1 of 4"], timeout=PATIENCE)
    playwright.expect(page.locator("#film-cost")).to_have_text("Film: 2.0 % of the training time.")


def test_film_plays_to_its_end(page: Any) -> None:
    choose(page, "filmed")
    page.select_option("#speed", "20")
    playwright.expect(page.locator("#step")).to_have_attribute("max", "3", timeout=PATIENCE)
    page.locator("#play").click()
    playwright.expect(page.locator("#play")).to_have_attribute("aria-label", "Play", timeout=PATIENCE)
    assert page.locator("#step").input_value() == "3"
    assert not page.locator("#live").is_checked()


def test_confusion_is_that_of_the_step(page: Any) -> None:
    choose(page, "filmed")
    says = page.locator(".confusion .note")
    playwright.expect(says).to_have_text("100 of 200 test images right; most often a is taken for b (100)")
    page.locator("#step").focus()
    page.keyboard.press("Home")  # before the first evaluation
    playwright.expect(page.locator(".confusion")).to_be_hidden()


def test_two_runs_overlay(page: Any) -> None:
    choose(page, "first")
    page.locator(".run", has_text="second").get_by_role("checkbox").check()
    wait_until(page, "document.getElementById('plot-loss').data?.length === 4")
    traces = page.evaluate("document.getElementById('plot-loss').data.map(({name, line}) => [name, line.color])")
    assert {name for name, _ in traces} == {"first, train", "first, test", "second, train", "second, test"}
    assert len({colour for _, colour in traces}) == 2


def test_view_survives_a_reload(page: Any) -> None:
    choose(page, "first")
    page.locator("#axis [value=epoch]").check()
    page.locator("#log").check()
    page.locator("#smooth").focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, "location.hash.includes('smooth=1')")
    page.reload()
    wait_until(
        page, "document.getElementById('plot-loss')?.data?.length === 3"
    )  # the raw curve, the smooth one, test
    assert page.evaluate("document.getElementById('plot-loss').layout.xaxis.title.text") == "epoch"
    assert page.evaluate("document.getElementById('plot-loss').layout.yaxis.type") == "log"
    assert page.evaluate("document.getElementById('plot-loss').data.map(({opacity}) => opacity)")[0] == 0.22
    assert page.locator("#smooth-value").inner_text() == "10 steps"
    assert checked(page) == ["first"]


def test_smoothing_is_the_average_it_says(page: Any) -> None:
    steps, values, span = [10, 20, 40, 45], [4.0, None, 1.0, 3.0], 20
    got = page.evaluate(
        "async (given) => (await import('/assets/dashboard/smoothing.js')).smooth(...given)", [steps, values, span]
    )
    for place, step in enumerate(steps):
        if values[place] is None:
            assert got[place] is None
            continue
        seen = [(np.exp((at - step) / span), value) for at, value in zip(steps, values, strict=True) if at <= step]
        weights, known = zip(*[pair for pair in seen if pair[1] is not None], strict=True)
        assert got[place] == pytest.approx(np.average(known, weights=weights))


def test_zoom_asks_for_its_stretch(watched: Watched, page: Any) -> None:
    write_run(watched.folder / "long", range(1, 4001), loss=1.0)
    choose(page, "long")
    wait_until(page, "document.getElementById('plot-loss').data?.[0]?.x.length > 500")
    whole = page.evaluate("document.getElementById('plot-loss').data[0].x.length")
    assert whole < 4000
    box = page.locator("#plot-loss").bounding_box()
    with page.expect_request(lambda request: "from=" in request.url and "to=" in request.url):
        page.mouse.move(box["x"] + 200, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 100, steps=4)
        page.mouse.up()
    steps = "document.getElementById('plot-loss').data[0].x"
    wait_until(page, f"{steps}.length < 2000 && {steps}.at(-1) - {steps}[0] + 1 === {steps}.length")  # every step
    page.mouse.dblclick(box["x"] + 250, box["y"] + 100)
    wait_until(page, f"{steps}.length === {whole}")


def test_chart_is_saved(page: Any) -> None:
    choose(page, "first")
    wait_until(page, "document.getElementById('plot-loss').data?.length === 2")
    for name, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save loss as {name}").click()
        assert download.value.suggested_filename == f"loss-first.{name.lower()}"
        assert Path(download.value.path()).read_bytes().startswith(start)
    with page.expect_download() as download:
        page.locator(".run", has_text="first").get_by_role("link", name="numbers as CSV").click()
    assert Path(download.value.path()).read_text().startswith("kind,step,time")


def test_hostile_names_are_text(watched: Watched, page: Any) -> None:
    run = watched.folder / HOSTILE.replace("/", "")
    write_run(run, range(10, 60, 10), class_names=(HOSTILE, "<b>b</b>"), frames=(0, 10), alarm=HOSTILE)
    choose(page, HOSTILE)
    wait_until(page, "document.getElementById('plot-loss').data?.length === 2")
    assert page.locator(".card h3").inner_text() == HOSTILE
    assert page.locator(".run.chosen .name").inner_text() == HOSTILE
    playwright.expect(page.locator(".says .note")).to_contain_text(HOSTILE, timeout=PATIENCE)
    choose(page, HOSTILE, "first")
    wait_until(page, "document.getElementById('plot-loss').data?.length === 4")
    box = page.locator("#plot-loss").bounding_box()
    page.mouse.move(box["x"] + 72, box["y"] + 80)
    page.mouse.move(box["x"] + 74, box["y"] + 80)
    playwright.expect(page.locator("#plot-loss .hoverlayer")).to_contain_text("<img src=x onerror", timeout=PATIENCE)
    assert page.locator("img[onerror], main script, nav script").count() == 0


def test_eight_tabs_share_one_stream(watched: Watched, page: Any) -> None:
    run = watched.folder / "second"
    with lock_run(run):
        choose(page, "second")
        tabs = [page, *(page.context.new_page() for _ in range(7))]
        for tab in tabs[1:]:
            tab.goto(page.url, wait_until="commit")
        last = json.loads((run / "events.jsonl").read_bytes().splitlines()[-1])["step"]
        for tab in tabs:
            wait_until(tab, f"document.getElementById('plot-loss').data?.[0]?.x.at(-1) === {last}")
        append(run, train_event(last + 10))
        for tab in tabs:
            wait_until(tab, f"document.getElementById('plot-loss').data?.[0]?.x.at(-1) === {last + 10}")
            playwright.expect(tab.locator("#connection")).to_have_text("live", timeout=PATIENCE)


def test_deleted_run_says_so(watched: Watched, page: Any) -> None:
    run = watched.folder / "doomed"
    write_run(run, range(10, 60, 10))
    choose(page, "doomed")
    wait_for_steps(page, "train", [10, 20, 30, 40, 50])
    shutil.rmtree(run)
    item = page.locator(".run", has_text="doomed")
    playwright.expect(item).to_contain_text("deleted", timeout=PATIENCE)
    playwright.expect(item).to_contain_text("its folder is gone")
    wait_for_steps(page, "train", [10, 20, 30, 40, 50])  # what is known stays
    item.get_by_role("checkbox").click()
    playwright.expect(item).to_have_count(0)
    playwright.expect(page.locator("#none-chosen")).to_be_visible()


def test_damaged_run_says_so(watched: Watched, page: Any) -> None:
    run = watched.folder / "damaged"
    write_run(run, range(10, 60, 10))
    (run / "run.json").write_text("{")
    item = page.locator(".run", has_text="damaged").first
    playwright.expect(item).to_contain_text("run.json cannot be read", timeout=PATIENCE)
    shutil.rmtree(run)


def test_empty_folder_says_how_to_begin(watched: Watched, profile: Any) -> None:
    others = watched.folder.with_name("aside")
    watched.folder.rename(others)
    watched.folder.mkdir()
    try:
        with opened(watched, profile, clean=False) as page:  # until the server has noticed
            count = "async () => (await (await fetch('/api/runs')).json()).runs.length"
            while page.evaluate(count):
                time.sleep(0.05)
            page.close()
        with opened(watched, profile) as page:
            playwright.expect(page.locator("#empty")).to_contain_text("convscope run digits", timeout=PATIENCE)
            write_run(watched.folder / "newest", range(10, 60, 10))
            wait_for_steps(page, "train", [10, 20, 30, 40, 50])
            assert checked(page) == ["newest"]
            page.close()
    finally:
        shutil.rmtree(watched.folder)
        others.rename(watched.folder)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_has_no_sideways_scroll(watched: Watched, scheme: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme, "has_touch": True}
    with watched.browser.new_context(**phone) as context, opened(watched, context) as page:
        page.locator("#open-runs").click()
        choose(page, "first", "filmed")
        playwright.expect(page.locator(".filters img[src]")).to_be_visible(timeout=PATIENCE)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 384) == (scheme == "dark")
        page.keyboard.press("Escape")
        playwright.expect(page.locator("#runs")).to_be_hidden()


def test_keyboard_reaches_everything(page: Any) -> None:
    choose(page, "filmed")
    playwright.expect(page.locator("#step")).to_have_attribute("max", "3", timeout=PATIENCE)
    page.locator("body").click(position={"x": 700, "y": 20})
    reached: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "step":
            break
    assert {"step", "smooth", "layer"} <= set(reached)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    playwright.expect(page.locator("#step")).to_have_value("2")
    page.keyboard.press("?")
    assert page.locator("#help").evaluate("dialog => dialog.open")
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#help").evaluate("dialog => dialog.open")
    page.keyboard.press("a")
    playwright.expect(page.locator("#axis [value=epoch]")).to_be_checked(timeout=PATIENCE)


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
