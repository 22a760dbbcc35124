"""What strangers wrote, as one harmless line of a message."""

from __future__ import annotations


def printable(name: str) -> str:
    r"""A name out of an archive as one harmless line.

    >>> printable("a" + chr(10) + "b")
    'a\\nb'
    """
    shown = name if name.isprintable() else name.encode("unicode_escape", "backslashreplace").decode("ascii")
    return shown if len(shown) <= 100 else f"{shown[:97]}..."
