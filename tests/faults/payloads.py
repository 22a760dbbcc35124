"""What a pickle does that runs code: it makes a file by which a test sees that it ran."""

from __future__ import annotations

import os
from pathlib import Path

CANARY = "convscope-code-ran"
"""The file, in the folder in which the process is."""


class CallsSystem:
    """Unpickled, it asks the system to make the canary."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """What to call instead of making one."""
        return os.system, (f"touch {CANARY}",)


def has_run() -> bool:
    """Whether code of a payload ran here."""
    return Path(CANARY).exists()
