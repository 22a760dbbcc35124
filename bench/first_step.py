"""How soon a command takes its first training step: `python -m bench.first_step SINCE train digits …` ends there.

SINCE is the time, in seconds since 1970, at which the command is held to have been given.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from typing import Any


def main(since: float, arguments: list[str]) -> None:
    """Run a command of convscope up to its first step, and print how long that and the imports before it took."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from convscope.cli import main as run_command

    for module in ("convscope.data", "convscope.training.start"):
        import_module(module)
    imported = time.time() - since

    def stop(*_: Any) -> None:
        print(f"{imported} {time.time() - since}", flush=True)
        os._exit(0)

    register_optimizer_step_post_hook(stop)
    run_command(arguments)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
