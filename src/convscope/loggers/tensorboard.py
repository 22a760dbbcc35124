"""TensorBoard: event files in tensorboard/ in the run's folder, written with the packages that read them."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2
from torch.utils.tensorboard import RecordWriter
from torch.utils.tensorboard.summary import hparams, image, scalar, text

from convscope.loggers.follow import FramePixels
from convscope.loggers.readings import as_text, began, scalars, sentence, settings
from convscope.types import Event

# Generated code, of which a type checker sees nothing.
Record: Any = event_pb2.Event  # pyright: ignore
SessionLog: Any = event_pb2.SessionLog  # pyright: ignore


class TensorBoard:
    """Writes records itself; torch's SummaryWriter keeps them for two minutes, and its thread fails with a traceback.

    A resumption begins a file whose first record makes TensorBoard forget what lies beyond what the log still holds.
    """

    delay = 0.0

    def __init__(
        self, run: Path, config: Mapping[str, Any], memory: dict[str, Any], step: int, frame_pixels: FramePixels
    ) -> None:
        """Begin a new file. Raises OSError."""
        folder = run / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        self.where = f"tensorboard --logdir {run.parent} --samples_per_plugin images=100"
        number = len(list(folder.iterdir()))
        told: dict[str, int] = memory.get("told", {}) if number else {}
        known = min(step, max(told.values(), default=-1))
        self.told = {kind: min(last, known) for kind, last in told.items()}
        self._frame_pixels = frame_pixels
        self._began = began(config)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        self._file = folder / name
        self._buffer = io.BytesIO()
        self._records = RecordWriter(self._buffer)
        self._write(Record(wall_time=time.time(), file_version="brain.Event:2"))
        if number:
            beyond = SessionLog(status=SessionLog.START)
            self._write(Record(wall_time=time.time(), step=known + 1, session_log=beyond))
        else:
            for summary in hparams(settings(config), {"accuracy/test": 0.0, "loss/test": 0.0})[:2]:
                self._write(Record(wall_time=self._began, summary=summary))
            if config:
                self._write(Record(wall_time=self._began, summary=text("run.json", as_text(config))))
        self._flush()

    def log(self, events: Sequence[Event]) -> None:
        """Write the events' records."""
        for event in events:
            summaries = [scalar(name, value) for name, value in scalars(event).items()]
            if said := sentence(event):
                summaries.append(text(f"{event.kind}s", said))
            if event.kind == "film":
                pictures = self._frame_pixels(event.step).items()
                summaries += [image(name, pixels, dataformats="HWC") for name, pixels in pictures]
            for summary in summaries:
                self._write(Record(wall_time=self._began + event.time, step=event.step, summary=summary))
        self._flush()

    def close(self, reason: str) -> None:
        """Say that it ended."""
        self._write(Record(wall_time=time.time(), summary=hparams({}, {})[2]))
        self._flush()

    def _write(self, record: Any) -> None:
        self._records.write(record.SerializeToString())

    def _flush(self) -> None:
        """Append all that was written since to the file, at once."""
        with self._file.open("ab") as file:
            file.write(self._buffer.getvalue())
        self._buffer.seek(0)
        self._buffer.truncate()
