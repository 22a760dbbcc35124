"""`convscope watch`: the dashboard as a command, and beside a training as a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import psutil

from convscope.errors import UsageError
from convscope.types import Say, say_nothing
from convscope.web.dashboard.live import Live
from convscope.web.dashboard.routes import Dashboard
from convscope.web.server import serve

LINGER_SECONDS = 60.0
"""A dashboard that was started beside a training ends so long after both the training and the last page."""

FOLLOW_SECONDS = 1.0
"""Seconds between two looks at whether the training is there."""

START_SECONDS = 15.0
"""So long a training waits for the dashboard beside it to say its address."""


def watch(
    folder: Path,
    *,
    port: int | None,
    open_browser: bool,
    say: Say,
    warn: Say = say_nothing,
    follow: int | None = None,
    host: str | None = None,
    expose: bool = False,
) -> None:
    """Show the runs of a folder until Ctrl-C or SIGTERM; `say` is called with the page's address.

    `port` None is the usual one or the next that is free, 0 any that is free. With `follow`, the number of a process,
    the dashboard ends by itself a minute after that process has ended and no page is open. `host` and `expose` are
    those of `server.serve`.
    Raises UsageError where the folder does not exist or the port is taken.
    """
    if not folder.is_dir():
        raise UsageError(f'no folder "{folder}"; runs go to runs/ unless --out names another: convscope run digits')
    if follow is not None and hasattr(os, "nice"):
        os.nice(5)  # the training comes first
    dashboard = Dashboard(folder, warn=warn)
    tasks: set[asyncio.Task[None]] = set()

    def started(stop: Callable[[], None]) -> None:
        if follow is not None:
            tasks.add(asyncio.create_task(end_after(follow, dashboard.live, stop)))

    serve(
        dashboard.app,
        port=port,
        open_browser=open_browser,
        say=say,
        close_streams=dashboard.live.close,
        on_start=started,
        host=host,
        expose=expose,
        warn=warn,
    )


async def end_after(number: int, live: Live, stop: Callable[[], None]) -> None:
    """Call stop when the process has ended and no page was open for a while."""
    with suppress(psutil.Error):
        process = psutil.Process(number)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(FOLLOW_SECONDS)
    ended = time.monotonic()
    while live.pages or time.monotonic() - max(ended, live.left) < LINGER_SECONDS:
        await asyncio.sleep(FOLLOW_SECONDS)
    stop()


def start_beside(folder: Path, *, open_browser: bool, say: Say) -> str | None:
    """Start the dashboard of a folder, made where there is none, as a process of its own; its address.

    It outlives this process by a minute, or as long as a page is open, and neither can harm the other. Where it does
    not start, `say` is called with one line, and None returned.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "convscope",
        "watch",
        str(folder),
        "--port",
        "0",
        "--follow",
        str(os.getpid()),
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command if open_browser else [*command, "--no-open"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            if address := _read_address(process):
                return address
            process.kill()
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else "it did not say its address"
    except OSError as error:
        reason = f"{error.strerror}"
    say(f"no dashboard: {reason}; the training goes on; start it with: convscope watch {folder}")
    return None


def _read_address(process: subprocess.Popen[bytes]) -> str | None:
    """The address that the dashboard prints when it answers; None where it ends before, or does not in time."""
    lines: Queue[bytes] = Queue()
    Thread(target=_attend, args=[process, lines], daemon=True).start()  # not every system's pipes have a timeout
    try:
        said = lines.get(timeout=START_SECONDS).decode(errors="replace").strip()
    except Empty:
        return None
    return said.removeprefix("url: ") if said.startswith("url: ") else None


def _attend(process: subprocess.Popen[bytes], lines: Queue[bytes]) -> None:
    """Hand on what the process prints until it ends; an empty line then."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    process.stdout.close()
    process.wait()
    lines.put(b"")
