"""The report as Markdown says what the page says, and its pictures are there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from convscope.errors import UsageError
from convscope.report import report
from convscope.report.markdown import to_markdown
from convscope.report.report import write_report
from convscope.training.folder import read_events
from tests.planted import plant_film, small
from tests.report.test_charts import run_events

HOSTILE = ("</style><script>alert(1)</script>", "a|b](javascript:1)", "*x* `y` $z$ &lt; ~ #")


def markdown_of(body: str) -> str:
    return to_markdown(f"<html><head><title>no</title><style>p {{}}</style></head><body>{body}</body></html>")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<h2>A\n b</h2><p>c <b>d</b>,\n<em>e</em><br>f</p>", "## A b\n\nc **d**, *e* f\n"),
        ("<section><div><p>a</p></div><p>  </p></section>", "a\n"),
        ("<p>&lt;b&gt; [x](y) *z*</p>", "\\<b\\> \\[x\\](y) \\*z\\*\n"),
        ("<p><code>a_b*</code></p>", "`a_b*`\n"),
        ('<figure><img src="p/a.png" alt="x]y"><figcaption>c</figcaption></figure>', "![x\\]y](p/a.png)\n\nc\n"),
        ('<figure><img src="p/a.webp" alt="x"></figure>', "[x](p/a.webp)\n"),
        ("<dl><dt>a</dt><dd>1<small>of 2</small></dd><dt>b</dt><dd>3</dd></dl>", "- a: **1 (of 2)**\n- b: **3**\n"),
        (
            "<table><caption>c</caption><thead><tr><th>a</th><th>b</th></tr></thead>"
            "<tr><td>1|2</td><td></td></tr></table>",
            "c\n\n| a | b |\n| --- | --- |\n| 1\\|2 |  |\n",
        ),
        (
            "<table><tr><th colspan='2'>a</th></tr><tr><th>b</th><td>1</td></tr></table>",
            "|  |  |\n| --- | --- |\n| a |  |\n| b | 1 |\n",
        ),
        ('<ol><li><img src="a" alt="x">\n<span>1</span></li><li>2</li></ol>', "| ![x](a) 1 | 2 |\n| --- | --- |\n"),
    ],
)  # fmt: skip
def test_each_part_of_a_page(body, expected):
    assert markdown_of(body) == expected


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run")
    network, dataset = small(class_names=HOSTILE)
    draw, drawn = report.sections, []

    def draw_once(*needs, **knobs):
        drawn.extend([] if drawn else draw(*needs, **knobs))
        yield from drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "sections", draw_once)
        write_both(run, network, dataset)
    return run


def write_both(run, network, dataset):
    for kind in ("html", "md"):
        options = {"events": run_events(), "config": {"command": "convscope run noise", "seed": 3}, "format": kind}
        written = write_report(run, network=network, dataset=dataset, **options)
        assert written == run / f"report.{kind}"


@pytest.fixture(scope="module")
def text(run) -> str:
    return (run / "report.md").read_text("utf-8")


def test_its_pictures_are_files(run, text):
    links = re.findall(r"(?<!\\)\]\(([^)]*)\)", text)
    links = [link for link in links if not link.startswith("javascript")]
    assert len(links) > 30
    for link in links:
        assert (run / unquote(link)).is_file()
        assert Path(link).parts[0] == "pictures"
    assert {"pictures/curves.png", "pictures/phases.png", "pictures/confusion.png"} <= set(links)


def bare(words: str) -> list[str]:
    return re.findall(r"[\w.,:%×→-]+", words)


def test_it_has_the_words_of_the_page(run, text):
    """Every heading, paragraph and caption of the page, in order, whatever marks are between."""
    page = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", (run / "report.html").read_text("utf-8"), flags=re.DOTALL)
    parts = re.findall(r"<(h[123]|p|figcaption|caption)\b[^>]*>(.*?)</\1>", page, flags=re.DOTALL)
    plain = " ".join(bare(re.sub(r"\\(.)", r"\1", text).replace("*", "").replace("`", "")))
    place = 0
    for _, part in parts:
        words = re.sub(r"<[^>]+>", "", part).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        wanted = " ".join(bare(words.replace("*", "").replace("`", "").replace("&#34;", '"').replace("&#39;", "'")))
        found = plain.find(wanted, place)
        assert found >= 0, wanted
        place = found
    assert len(parts) > 60


def test_names_make_no_markup(text):
    assert not re.search(r"(?<!\\)<", text)
    assert "](javascript" not in text.replace("\\](javascript", "")
    for line in [line for line in text.splitlines() if line.startswith("| ")]:
        assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 5, 6, 7, 8)


def test_a_film_is_linked_and_its_last_image_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "sections", lambda *needs, **knobs: iter(()))
    network, dataset = small()
    run = plant_film(tmp_path)
    written = write_report(run, network=network, dataset=dataset, events=read_events(run), config={}, format="md")
    text = written.read_text("utf-8")
    assert re.search(r"(?<!!)\[[^\]]+\]\(pictures/film-small\.webp\)", text)
    assert re.search(r"!\[[^\]]+\]\(pictures/film-small-last\.png\)", text)


def test_another_format_is_refused(tmp_path):
    network, dataset = small()
    unchecked = inspect.unwrap(write_report)  # past the tests' own check of types
    with pytest.raises(UsageError, match='no format "docx"; allowed: html, md'):
        unchecked(tmp_path, network=network, dataset=dataset, events=[], config={}, format="docx")
