"""What a forked process does: plant faults, then run a command as the command line does."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import sklearn.datasets  # noqa: F401  this and more is imported here so that forked processes have it already
import torch
import torch._dynamo  # what the first optimizer imports

from convscope import cli
from convscope.loggers import load_loggers  # noqa: F401
from convscope.training import film, loop, tune  # noqa: F401
from convscope.training import start as _start  # noqa: F401
from tests.faults import tiny

torch.set_num_threads(1)  # no thread is started before a fork


@tiny.known()
def run_command(
    arguments: Sequence[str], output: str, environment: Mapping[str, str], faults: Sequence[Any], steps: Any
) -> None:
    """Run one command, its standard error going to a file; exits with its code.

    `steps` counts the steps of the training, from 0 when the command begins.
    """
    os.environ.update(environment)
    tempfile.tempdir = None
    for stream, path in ((1, f"{output}.out"), (2, f"{output}.err")):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, stream)
        os.close(opened)
    film.BUDGET = 1e9  # every frame is taken, however long it takes: films can be compared
    update = loop.update

    def counted(*given: Any, **named: Any) -> Any:
        result = update(*given, **named)
        steps.value += 1
        return result

    loop.update = counted
    for fault in faults:
        fault.plant()
    sys.argv = ["convscope", *arguments]
    app = cli.app

    def begun(*given: Any, **named: Any) -> Any:
        steps.value = 0
        return app(*given, **named)

    cli.app = begun  # what a signal that comes sooner does is Python's affair
    try:
        cli.main()
    finally:  # and one that comes later finds the command over, not what is put back for the next one here
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
