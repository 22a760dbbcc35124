"""What the dashboard's page draws, in a real Chromium: the charts, and the film that its slider moves through."""

import re
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

expect = pytest.importorskip("playwright.sync_api").expect

from convscope.training.folder import lock_run  # noqa: E402 - it needs playwright
from tests.patience import soon  # noqa: E402
from tests.web.browsed import (  # noqa: E402
    Watched,
    append,
    choose,
    pixels,
    train_event,
    wait_for_steps,
    wait_until,
    write_run,
)


def test_two_runs_overlay(page: Any) -> None:
    choose(page, "first")
    page.locator(".run", has_text="second").get_by_role("checkbox").check()
    wait_until(page, "document.getElementById('plot-loss').data?.length === 4")
    traces = page.evaluate("document.getElementById('plot-loss').data.map(({name, line}) => [name, line.color])")
    assert {name for name, _ in traces} == {"first, train", "first, test", "second, train", "second, test"}
    assert len({colour for _, colour in traces}) == 2


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
    box = page.locator("#plot-loss").bounding_box()
    with page.expect_request(lambda request: "from=" in request.url and "to=" in request.url):
        page.mouse.move(box["x"] + 200, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 100, steps=4)
        page.mouse.up()
    steps = "document.getElementById('plot-loss').data[0].x"
    wait_until(page, f"{steps}.length < 2000 && {steps}.at(-1) - {steps}[0] + 1 === {steps}.length")  # every step
    whole = f"{steps}[0] === 1 && {steps}.at(-1) === 4000 && {steps}.length < 4000"  # thinned
    page.evaluate("document.getElementById('plot-loss')._context.doubleClickDelay = 1e6")  # however slow all is
    page.mouse.dblclick(box["x"] + 250, box["y"] + 100)
    wait_until(page, whole)


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


def test_slider_changes_filters(page: Any) -> None:
    choose(page, "filmed")
    filters = page.locator(".filters img")
    expect(filters).to_have_attribute("alt", re.compile("step 100"))
    last = pixels(page, ".filters img")
    page.locator("#step").focus()
    page.keyboard.press("Home")
    expect(filters).to_have_attribute("alt", re.compile("step 0"))
    first = pixels(page, ".filters img")
    assert first != last
    page.keyboard.press("ArrowRight")
    expect(filters).to_have_attribute("alt", re.compile("step 1 "))
    assert pixels(page, ".filters img") not in (first, last)
    assert page.locator("#step").get_attribute("aria-valuetext") == "step 1 · epoch 0"
    shape = "document.getElementById('plot-loss').layout.shapes[0]"
    wait_until(page, f"{shape}.x0 === 1 && {shape}.visible")
    expect(page.locator(".says")).to_contain_text("It says b (88 %): it is a.")
    expect(page.locator(".layers tbody tr")).to_have_text(["relu25 %1 of 4"])
    expect(page.locator("#film-cost")).to_have_text("Film: 2.0 % of the training time.")


def test_film_plays_to_its_end(page: Any) -> None:
    choose(page, "filmed")
    page.select_option("#speed", "20")
    expect(page.locator("#step")).to_have_attribute("max", "3")
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play")
    assert page.locator("#step").input_value() == "3"
    assert not page.locator("#live").is_checked()


def test_confusion_is_that_of_the_step(page: Any) -> None:
    choose(page, "filmed")
    says = page.locator(".confusion .note")
    expect(says).to_have_text("100 of 200 test images right; most often a is taken for b (100)")
    page.locator("#step").focus()
    page.keyboard.press("Home")  # before the first evaluation
    expect(page.locator(".confusion")).to_be_hidden()


LINE_END = """(() => {
    const plot = document.getElementById("plot-loss");
    const paths = plot.querySelector(".scatterlayer .trace").querySelectorAll(".js-line, .piece");
    const [x, y] = [...paths].at(-1).getAttribute("d").match(/[-\\d.]+/g).slice(-2);
    const { xaxis, yaxis } = plot._fullLayout;
    return [xaxis.p2d(Number(x)), yaxis.p2d(Number(y))];
})()"""
"""Where the line that is drawn ends, read back from its path."""


def test_new_points_are_drawn_on_to_the_line_and_read_out_where_one_points(watched: Watched, page: Any) -> None:
    run = watched.folder / "growing"
    write_run(run, range(10, 330, 10), loss=2.0)
    page.mouse.move(5, 5)
    with lock_run(run):
        choose(page, "growing")
        wait_for_steps(page, "train", list(range(10, 330, 10)))
        page.evaluate("""() => {
            const { react } = Plotly;
            globalThis.drawn = 0;
            Plotly.react = (...given) => react(...given, (globalThis.drawn += given[0].id === "plot-loss"));
        }""")
        in_a_row = 0  # points that came without a whole drawing; at first the evaluations and the status come between
        for step in range(330, 430, 10):
            before, loss = page.evaluate("drawn"), 2.0 + step % 20 / 1000
            append(run, train_event(step, loss=loss))
            wait_until(page, f"Math.abs({LINE_END}[0] - {step}) < 2 && Math.abs({LINE_END}[1] - {loss}) < 0.01")
            in_a_row = in_a_row + 1 if page.evaluate("drawn") == before else 0
            if in_a_row == 3:
                break
        assert in_a_row == 3
        before = page.evaluate("drawn")
        point = f"({{_fullLayout: {{xaxis}}}}) => xaxis._offset + xaxis.d2p({step})"
        across = page.locator("#plot-loss").evaluate(point)
        box = page.locator("#plot-loss").bounding_box()
        page.mouse.move(box["x"] + across - 2, box["y"] + 90)
        wait_until(page, f"drawn > {before}")
        read_out = page.locator("#plot-loss .hoverlayer", has_text=f"step {step}")
        tremble = cycle((0, 1))  # plotly may still be drawing when the pointer comes to rest

        def shows() -> int:
            page.mouse.move(box["x"] + across - next(tremble), box["y"] + 92)
            return read_out.count()

        soon(shows)
        expect(read_out).to_be_visible()
        before = page.evaluate("drawn")
        append(run, train_event(step + 10, loss=9.0))  # higher than the chart is
        page.mouse.move(5, 5)
        wait_until(page, f"Math.abs({LINE_END}[1] - 9) < 0.05 && drawn > {before}")


def test_a_film_that_grows_is_not_asked_for_at_every_frame(page: Any) -> None:
    asked = page.evaluate("""async () => {
        const { FilmStore } = await import("/assets/dashboard/film_store.js");
        const { fetch } = globalThis;
        let asked = 0;
        globalThis.fetch = (address) => {
            if (!address.includes("runs/grows/film")) return fetch(address);
            asked += 1;
            return Promise.resolve(new Response(JSON.stringify({ frames: [] })));
        };
        const { setTimeout } = globalThis;
        const later = [];
        globalThis.setTimeout = (act, time) => (time > 5000 ? later.push(act) : setTimeout(act, time));
        const store = new FilmStore(() => {});
        store.grow("grows");
        while (!store.get("grows").film) await new Promise((done) => setTimeout(done, 5));
        for (let frame = 0; frame < 5; frame += 1) store.grow("grows");
        const told = [asked, later.length];
        await later[0]();
        return [...told, asked];
    }""")
    assert asked == [1, 1, 2]
