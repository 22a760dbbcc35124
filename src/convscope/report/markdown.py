"""A one-file page as Markdown, for those who hand in a document: the same words, and the pictures as files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "link", "hr"}
MARKS = {"b": "**", "strong": "**", "em": "*"}
SPECIAL = re.compile(r"([\\`*_\[\]<>#|$~&{}])")
BESIDE = 4  # small pictures in a row of a table


@dataclass
class Element:
    """An element of the page, with what is in it."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    inside: list[Element | str] = field(default_factory=list["Element | str"])

    def all(self, *tags: str) -> Iterator[Element]:
        """The elements of these kinds within it, in order."""
        for each in self.inside:
            if isinstance(each, Element):
                if each.tag in tags:
                    yield each
                yield from each.all(*tags)


class _Reader(HTMLParser):
    """Makes elements of a well-formed page."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element."""
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        self.open.pop()

    def handle_data(self, data: str) -> None:
        """Add text."""
        self.open[-1].inside.append(data)


def to_markdown(page: str) -> str:
    r"""The page's words, tables and pictures as Markdown (CommonMark with tables), ready for pandoc.

    Pictures must be files or addresses; what moves is linked to, since a document stands still.

    >>> to_markdown("<body><h1>A &amp; B</h1><p>It is <b>0.5</b>.</p></body>")
    '# A \\& B\n\nIt is **0.5**.\n'
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    body = next(reader.open[0].all("body"))
    return "\n\n".join(_blocks(body)) + "\n"


def _blocks(element: Element) -> Iterator[str]:
    """The blocks within an element."""
    for each in element.inside:
        if isinstance(each, str):
            continue  # between blocks stands only space
        if re.fullmatch("h[1-6]", each.tag):
            yield f"{'#' * int(each.tag[1])} {_words(each)}"
        elif each.tag in ("p", "figcaption"):
            if words := _words(each):
                yield words
        elif each.tag == "img":
            yield _image(each)
        elif each.tag == "table":
            yield from (_words(caption) for caption in each.all("caption"))
            yield _table(each)
        elif each.tag == "dl":
            names, values = each.all("dt"), each.all("dd")
            yield "\n".join(f"- {_words(a)}: **{_words(b)}**" for a, b in zip(names, values, strict=True))
        elif each.tag == "ol":
            yield _grid([_words(item) for item in each.all("li")], BESIDE)
        else:
            yield from _blocks(each)


def _table(table: Element) -> str:
    """A table; one without a head gets an empty one, which Markdown asks for."""
    rows = [[_words(cell) for cell in row.all("th", "td")] for row in table.all("tr")]
    count = max(map(len, rows), default=0)
    if not any(table.all("thead")):
        rows.insert(0, [])
    return _grid([cell for row in rows for cell in [*row, *[""] * (count - len(row))]], count)


def _grid(cells: Sequence[str], columns: int) -> str:
    """Cells as the rows of a table, the first of which is its head."""
    columns = min(columns, len(cells)) or 1
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    lines = [f"| {' | '.join([*row, *[''] * (columns - len(row))])} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * columns}", *lines[1:]])


def _words(element: Element) -> str:
    """What is in an element, in one line."""
    parts: list[str] = []
    for each in element.inside:
        if isinstance(each, str):
            parts.append(_escaped(each))
        elif each.tag == "img":
            parts.append(f"{_image(each)} ")
        elif each.tag == "code":
            parts.append(_code("".join(text for text in each.inside if isinstance(text, str))))
        elif words := _words(each):
            mark = MARKS.get(each.tag, "")
            parts.append(f" ({words})" if each.tag == "small" else f"{mark}{words}{mark}")
        elif each.tag == "br":
            parts.append(" ")
    return " ".join("".join(parts).split())


def _code(text: str) -> str:
    """Text as code, whatever backticks are in it.

    >>> _code("convscope film"), _code("a`b")
    ('`convscope film`', '`` a`b ``')
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, gap = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{gap}{text}{gap}{fence}"


def _image(image: Element) -> str:
    """A picture, or a link where it moves."""
    source = image.attributes["src"]
    mark = "" if source.endswith(".webp") else "!"
    return f"{mark}[{_escaped(' '.join(image.attributes['alt'].split()))}]({source})"


def _escaped(text: str) -> str:
    r"""Text in which nothing is a mark.

    >>> _escaped("a_b*")
    'a\\_b\\*'
    """
    return SPECIAL.sub(r"\\\1", text)
