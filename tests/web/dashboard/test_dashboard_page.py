"""The dashboard's page in a real Chromium, with a server of its own that is killed and started again."""

import json
import re
import shutil
import time
from typing import Any

import pytest

from convscope.training.folder import lock_run
from convscope.types import Event

expect = pytest.importorskip("playwright.sync_api").expect

from tests.web.browsed import (  # noqa: E402 - it needs playwright
    CLOSE_AND_PRESS,
    Watched,
    append,
    checked,
    choose,
    eval_event,
    opened,
    start_data,
    train_event,
    wait_for_steps,
    wait_until,
    write_run,
)

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)<script>"


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
    expect(item).to_contain_text("step 220 of 1,000 · epoch 2.2 of 10")


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
        expect(page.locator("#connection")).to_contain_text("not connected since")
        watched.start()
        append(run, train_event(80))
        wait_for_steps(page, "train", list(range(10, 90, 10)))
        expect(page.locator("#connection")).to_have_text("live")
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
    script = """async ([known, cases, wanted]) => {
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
            while (!store.get(`case${place}`).series) await pause(5);
            for (const [generation, start, end, step] of told) {
                store.receive({ run: `case${place}`, generation, start, end, train: { step } });
            }
            while (asked[place] < wanted[place]) await pause(5);
            await pause(600); // longer than the store waits between two requests
            return store.get(`case${place}`).series.train.step;
        });
        return (await Promise.all(steps)).map((each, place) => [each, asked[place]]);
    }"""
    wanted = [asked for _, _, asked in cases]
    assert page.evaluate(script, [known, cases, wanted]) == [[steps, asked] for _, steps, asked in cases]


def test_view_survives_a_reload(page: Any) -> None:
    choose(page, "first")
    page.locator("#axis [value=epoch]").check()
    page.locator("#log").check()
    page.locator("#smooth").focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, "location.hash.includes('smooth=1')")
    page.reload()
    wait_until(page, "document.getElementById('plot-loss')?.data?.length === 3")  # raw, smooth, test
    assert page.evaluate("document.getElementById('plot-loss').layout.xaxis.title.text") == "epoch"
    assert page.evaluate("document.getElementById('plot-loss').layout.yaxis.type") == "log"
    assert page.evaluate("document.getElementById('plot-loss').data.map(({opacity}) => opacity)")[0] == 0.22
    assert page.locator("#smooth-value").inner_text() == "10 steps"
    assert checked(page) == ["first"]


def test_hostile_names_are_text(watched: Watched, page: Any) -> None:
    run = watched.folder / HOSTILE.replace("/", "")
    write_run(run, range(10, 60, 10), class_names=(HOSTILE, "<b>b</b>"), frames=(0, 10), alarm=HOSTILE)
    choose(page, HOSTILE)
    wait_until(page, "document.getElementById('plot-loss').data?.length === 2")
    assert page.locator(".card h3").inner_text() == HOSTILE
    assert page.locator(".run.chosen .name").inner_text() == HOSTILE
    expect(page.locator(".says .note")).to_contain_text(HOSTILE)
    choose(page, HOSTILE, "first")
    wait_until(page, "document.getElementById('plot-loss').data?.length === 4")
    box = page.locator("#plot-loss").bounding_box()
    page.mouse.move(box["x"] + 72, box["y"] + 80)
    page.mouse.move(box["x"] + 74, box["y"] + 80)
    expect(page.locator("#plot-loss .hoverlayer")).to_contain_text("<img src=x onerror")
    assert page.locator("img[onerror], main script, nav script").count() == 0


def test_seven_tabs_share_one_stream(watched: Watched, page: Any) -> None:
    run = watched.folder / "second"
    with lock_run(run):
        choose(page, "second")
        tabs = [page, *(page.context.new_page() for _ in range(6))]
        for tab in tabs[1:]:
            tab.goto(page.url, wait_until="commit")
        for tab in tabs:
            wait_until(tab, "document.getElementById('plot-loss').data?.[0]?.x.at(-1) === 100")
        append(run, train_event(110))
        for tab in tabs:
            wait_until(tab, "document.getElementById('plot-loss').data?.[0]?.x.at(-1) === 110")
            expect(tab.locator("#connection")).to_have_text("live")
    for tab in tabs[1:]:
        tab.close()


def test_deleted_run_says_so(watched: Watched, page: Any) -> None:
    run = watched.folder / "doomed"
    write_run(run, range(10, 60, 10))
    choose(page, "doomed")
    wait_for_steps(page, "train", [10, 20, 30, 40, 50])
    shutil.rmtree(run)
    item = page.locator(".run", has_text="doomed")
    expect(item).to_contain_text("deleted")
    expect(item).to_contain_text("its folder is gone")
    wait_for_steps(page, "train", [10, 20, 30, 40, 50])  # what is known stays
    item.get_by_role("checkbox").click()
    expect(item).to_have_count(0)
    expect(page.locator("#none-chosen")).to_be_visible()


def test_damaged_run_says_so(watched: Watched, page: Any) -> None:
    run = watched.folder / "damaged"
    write_run(run, range(10, 60, 10))
    (run / "run.json").write_text("{")
    item = page.locator(".run", has_text="damaged").first
    expect(item).to_contain_text("run.json cannot be read")
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
        with opened(watched, profile) as page:
            expect(page.locator("#empty")).to_contain_text("convscope run digits")
            write_run(watched.folder / "newest", range(10, 60, 10))
            wait_for_steps(page, "train", [10, 20, 30, 40, 50])
            assert checked(page) == ["newest"]
    finally:
        shutil.rmtree(watched.folder)
        others.rename(watched.folder)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_has_no_sideways_scroll(watched: Watched, scheme: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme, "has_touch": True}
    with watched.browser.new_context(**phone) as context, opened(watched, context) as page:
        page.locator("#open-runs").click()
        choose(page, "first", "filmed")
        expect(page.locator(".filters img[src]")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 384) == (scheme == "dark")
        page.keyboard.press("Escape")
        expect(page.locator("#runs")).to_be_hidden()


def test_keyboard_reaches_everything(page: Any) -> None:
    choose(page, "filmed")
    expect(page.locator("#step")).to_have_attribute("max", "3")
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
    expect(page.locator("#step")).to_have_value("2")
    page.keyboard.press("?")
    assert page.locator("#help").evaluate("dialog => dialog.open")
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#help").evaluate("dialog => dialog.open")
    page.keyboard.press("a")
    expect(page.locator("#axis [value=epoch]")).to_be_checked()
    page.keyboard.press("?")
    page.locator("#help").evaluate(CLOSE_AND_PRESS, "a")
    expect(page.locator("#axis [value=time]")).to_be_checked()
    page.keyboard.press("?")
    assert page.locator("#help").evaluate(CLOSE_AND_PRESS, " ")
