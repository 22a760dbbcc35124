"""How long tests wait for what must happen: longer than any machine takes that is merely busy."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 120.0
"""Seconds; where all is well nobody waits them out."""


def soon(happens: Callable[[], Any]) -> Any:
    """What the function gives, once that is true."""
    until = time.monotonic() + PATIENCE
    while not (found := happens()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
    return found
