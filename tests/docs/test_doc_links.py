"""Every relative link in the documentation leads somewhere, headings included; every method has its page."""

import inspect
import re
import sys
from pathlib import Path

import pytest

from convscope.methods import METHODS
from tests.docs.blocks import PAGES, ROOT, called, prose

sys.path.insert(0, str(ROOT / "docs" / "site"))
from reference import PAGES as REFERENCE

MADE = {ROOT / "docs" / "reference" / f"{name}.md" for name in REFERENCE}
MADE |= {ROOT / "docs" / name for name in ("contributing.md", "changes.md")}
MADE |= {ROOT / "docs" / "examples" / f"{path.stem}.md" for path in (ROOT / "examples").glob("*.ipynb")}
SECTIONS = ["Draw it", "What it computes", "How to read it", "How it misleads"]


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """The page's headings as links name them: lower case, words joined by hyphens, without signs."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=called)
def test_relative_links_lead_somewhere(page: Path):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists() or target in MADE, link
        assert not anchor or anchor in anchors(target), link


def test_links_out_are_of_papers_and_this_project():
    found = {link.split("/")[2] for page in PAGES for link in links(page) if link.startswith("http")}
    assert found <= {"arxiv.org", "doi.org"}


def test_every_notebook_is_linked_from_the_front_page():
    front = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    names = [path.stem for path in (ROOT / "examples").glob("*.ipynb")]
    assert len(names) >= 4
    assert [
        name for name in names if f"(examples/{name}.md)" not in front or f"\nexamples/{name}\n" not in front
    ] == []


@pytest.mark.parametrize("name", METHODS.own)
def test_each_method_has_a_page_that_names_its_knobs(name: str):
    page = ROOT / "docs" / "methods" / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    parameters = inspect.signature(METHODS[name].load()).parameters.values()
    knobs = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    for knob in set(knobs) - {"progress", "store", "ranks"}:
        assert f"--{knob.replace('_', '-')}" in text or f"{knob}=" in text, f"{page.name} does not name {knob}"
