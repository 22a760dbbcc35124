"""Weights & Biases: online for who is logged in; else kept in the run's folder, to be sent with `wandb sync`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from convscope.errors import UsageError
from convscope.loggers.follow import FramePixels
from convscope.loggers.readings import scalars, sentence
from convscope.types import Event

EXIT_CODES = {"finished": 0, "interrupted": 130}

INIT_SECONDS, FINISH_SECONDS = 15.0, 10.0
"""How long a server that is away is waited for; wandb holds up the end of the process for as long."""

WRITE_SECONDS = 1.0
"""How often wandb's own process writes to its file; what it has not written is lost when this one is killed."""


class WeightsAndBiases:
    """Keeps the run's id, so that a resumption goes on in the same run.

    A kill takes what wandb's own process did not write yet, so after one the last three seconds are told again.
    """

    delay = 3 * WRITE_SECONDS

    def __init__(
        self, run: Path, config: Mapping[str, Any], memory: dict[str, Any], step: int, frame_pixels: FramePixels
    ) -> None:
        """Begin the run, or go on with it. Raises UsageError and wandb's own errors; never asks anything."""
        quiet: dict[str, Any] = {"console": "off", "silent": True, "disable_code": True, "disable_git": True}
        wandb.setup(wandb.Settings(**quiet))
        mode: Any = _mode()
        identity = memory.setdefault("id", os.environ.get("WANDB_RUN_ID", secrets.token_hex(4)))
        self._frame_pixels = frame_pixels
        self._run = wandb.init(
            id=identity,
            resume="allow",
            mode=mode,
            dir=os.environ.get("WANDB_DIR", str(run)),
            project=os.environ.get("WANDB_PROJECT", "convscope"),
            name=os.environ.get("WANDB_NAME", run.name),
            config=dict(config),
            settings=wandb.Settings(
                **quiet,
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                x_transaction_log_flush_interval=WRITE_SECONDS,
            ),
        )
        self.told: dict[str, int] = memory.get("told", {})
        self.where = self._run.url or f"not logged in; send it with: wandb sync {Path(self._run.dir).parent}"
        self._sentences: list[str] = []

    def log(self, events: Sequence[Event]) -> None:
        """Hand the events to W&B's own process."""
        for event in events:
            values: dict[str, Any] = dict(scalars(event))
            if event.kind == "film":
                pictures = self._frame_pixels(event.step).items()
                values |= {name: wandb.Image(pixels, caption=f"step {event.step}") for name, pixels in pictures}
            if event.kind == "end":
                self._run.summary.update(values)
            elif values:
                self._run.log(values, step=event.step)
            if said := sentence(event):
                self._sentences.append(f"step {event.step}: {said}")
                self._run.summary["events"] = "\n".join(self._sentences)
            if event.kind == "alarm":
                self._run.alert(title=f"{event.data['what']} after step {event.step}", text=said)

    def close(self, reason: str) -> None:
        """Say how it ended, and wait until all is sent."""
        self._run.finish(exit_code=EXIT_CODES.get(reason, 1))


def _mode() -> str:
    """WANDB_MODE, or what suits: online only for who is logged in, since wandb would ask for a key otherwise."""
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "disabled", "dryrun"):
        return "offline" if mode == "dryrun" else mode
    if wandb.login(prompt=False, verify=False):
        return mode or "online"
    if mode:
        raise UsageError(f"WANDB_MODE is {mode}, but nobody is logged in: wandb login, or WANDB_MODE=offline")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return "offline"
