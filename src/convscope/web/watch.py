"""`convscope watch`: the dashboard as a command, and beside a training as a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import psutil

from convscope.errors import UsageError
from convscope.web.dashboard import Dashboard
from convscope.web.live import Live
from convscope.web.server import serve


def say_nothing(text: str) -> None:
    """What warns a caller that wants silence."""


LINGER_SECONDS = 60.0
"""A dashboard that was started beside a training ends so long after both the training and the last page."""

START_SECONDS = 15.0


def watch(
    folder: Path,
    *,
    port: int | None,
    open_browser: bool,
    say: Callable[[str], None],
    warn: Callable[[str], None] = say_nothing,
    follow: int | None = None,
) -> None:
    """Show the runs of a folder until Ctrl-C or SIGTERM; `say` is called with the page's address.

    `port` None is the usual one or the next that is free, 0 any that is free. With `follow`, the number of a process,
    the dashboard ends by itself a minute after that process has ended and no page is open.
    Raises UsageError where the folder does not exist or the port is taken.
    """
    if not folder.is_dir():
        raise UsageError(f'no folder "{folder}"; runs go to runs/ unless --out names another: convscope run digits')
    dashboard = Dashboard(folder, warn=warn)
    tasks: set[asyncio.Task[None]] = set()

    def started(stop: Callable[[], None]) -> None:
        if follow is not None:
            if hasattr(os, "nice"):
                os.nice(5)  # the training comes first
            tasks.add(asyncio.create_task(end_after(follow, dashboard.live, stop)))

    serve(
        dashboard.app,
        port=port,
        open_browser=open_browser,
        say=say,
        close_streams=dashboard.live.close,
        on_start=started,
    )


async def end_after(number: int, live: Live, stop: Callable[[], None]) -> None:
    """Call stop when the process has ended and no page was open for a while."""
    process = find_process(number)
    while process and process.is_running():
        await asyncio.sleep(1)
    ended = time.monotonic()
    while live.pages or time.monotonic() - max(ended, live.left) < LINGER_SECONDS:
        await asyncio.sleep(1)
    stop()


def find_process(number: int) -> psutil.Process | None:
    """The process of that number; None where there is none."""
    try:
        return psutil.Process(number)
    except psutil.Error:
        return None


def start_beside(folder: Path, *, open_browser: bool, say: Callable[[str], None]) -> str | None:
    """Start the dashboard of a folder as a process of its own, and return its address.

    It outlives this process by a minute, or by as long as a page is open, and neither can harm the other. Where it
    does not start, `say` is called with one line, and None returned.
    """
    browser = [] if open_browser else ["--no-open"]
    command = [sys.executable, "-m", "convscope", "watch", str(folder), "--port", "0", *browser]
    command += ["--follow", str(os.getpid())]
    try:
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
            lines: list[bytes] = []
            reader = Thread(target=lambda: lines.extend(iter(process.stdout.readline, b"")), daemon=True)
            reader.start()
            deadline = time.monotonic() + START_SECONDS
            while not lines and reader.is_alive() and time.monotonic() < deadline:
                time.sleep(0.05)
            if lines and lines[0].startswith(b"url: "):
                return lines[0].decode().removeprefix("url: ").strip()
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else "it did not answer in time"
    except OSError as error:
        reason = str(error)
    say(f"no dashboard: {reason}; the training goes on; start it with: convscope watch {folder}")
    return None
