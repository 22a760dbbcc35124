"""The code in the documentation: its fenced and indented blocks, and the commands that its sentences name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PUNCTUATION = "();<>|&"


class Block(NamedTuple):
    """A block of code, where it stands, and whether a comment above it says that it is to be run."""

    page: Path
    line: int
    language: str  # empty where none is said, and of indented blocks
    text: str
    run: bool

    @property
    def file(self) -> str | None:
        """The file that its first line says it is."""
        found = re.match(r"# ([\w/-]+\.(?:py|toml))\n", self.text)
        return found[1] if found else None


def called(page: Path) -> str:
    """The page's name in a test."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """The page's blocks, from the top; directives such as a list of pages are none."""
    return [block for block in _parts(page) if isinstance(block, Block) and not block.language.startswith("{")]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return "\n".join(part for part in _parts(page) if isinstance(part, str))


def _parts(page: Path) -> Iterator[Block | str]:
    lines = page.read_text(encoding="utf-8").splitlines()
    at, before = 0, ""
    while at < len(lines):
        line = lines[at]
        opened = re.match(r"\s*```(.*)$", line)
        start = at
        if opened:
            at += 1
            while lines[at].strip() != "```":
                at += 1
            text = "\n".join(lines[start + 1 : at]) + "\n"
            yield Block(page, start + 1, opened[1].strip(), text, before == "<!-- run -->")
        elif line.startswith("    ") and not before.strip():
            while at + 1 < len(lines) and (lines[at + 1].startswith("    ") or not lines[at + 1].strip()):
                at += 1
            yield Block(page, start + 1, "", "\n".join(each[4:] for each in lines[start : at + 1]) + "\n", run=False)
        else:
            yield line
        before = line
        at += 1


def commands(text: str) -> list[list[str]]:
    """The arguments of each call of convscope in lines of shell, without those that stand for more of them.

    >>> commands("pip install x && convscope maps latest --image 7 | less  # look")
    [['maps', 'latest', '--image', '7']]
    >>> commands("torchrun --nproc-per-node 8 -m convscope train folder:PHOTOS; time convscope compare a b…")
    [['train', 'folder:PHOTOS'], ['compare', 'a', 'b']]
    """
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if "convscope" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=PUNCTUATION)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(PUNCTUATION):
                found += _arguments(words)
                words = []
            else:
                words.append(word)
    return found


def _arguments(words: list[str]) -> Iterator[list[str]]:
    """What follows the program's name, where it is called."""
    for place, word in enumerate(words):
        if word == "convscope" and (place == 0 or words[place - 1] in ("-m", "time")):
            yield [stripped for each in words[place + 1 :] if (stripped := each.rstrip("…")) and each != "--debug"]
            return
