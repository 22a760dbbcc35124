"""MLflow: one of its runs, at MLFLOW_TRACKING_URI or in the database ./mlflow.db, which is MLflow's own default."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when mlflow is imported

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from convscope.loggers.follow import FramePixels
from convscope.loggers.readings import began, scalars, sentence, settings
from convscope.types import Event

AT_ONCE = 1000, 100
"""How many metrics and how many parameters MLflow takes in one request."""

STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}


class MLflow:
    """Keeps the run's id and its store's address, so that a resumption goes on there from whichever folder."""

    delay = 0.0

    def __init__(
        self, run: Path, config: Mapping[str, Any], memory: dict[str, Any], step: int, frame_pixels: FramePixels
    ) -> None:
        """Make a run, or go on with the one that is remembered. Raises MlflowException."""
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._frame_pixels = frame_pixels
        self._began = began(config)
        address = memory.get("address") or mlflow.get_tracking_uri()
        self._client = mlflow.MlflowClient(address)
        if not self._goes_on(memory.get("id")):
            memory.clear()
            memory["address"], memory["id"] = address, self._create(run, config)
        self._id: str = memory["id"]
        self.told: dict[str, int] = memory.get("told", {})
        experiment = self._client.get_experiment(self._client.get_run(self._id).info.experiment_id).name
        how = f"mlflow ui --backend-store-uri {address}" if "://" in address and "http" not in address else address
        self.where = f"{how} (experiment {experiment})"

    def log(self, events: Sequence[Event]) -> None:
        """Pass the events on, as many in one request as MLflow takes."""
        metrics = [
            Metric(name, value, int((self._began + event.time) * 1000), event.step)
            for event in events
            for name, value in scalars(event).items()
        ]
        tags = [
            RunTag(f"{event.kind} after step {event.step}", said) for event in events if (said := sentence(event))
        ]
        for start in range(0, len(metrics), AT_ONCE[0]):
            self._client.log_batch(self._id, metrics=metrics[start : start + AT_ONCE[0]])
        if tags:
            self._client.log_batch(self._id, tags=tags)
        for event in events:
            if event.kind == "film":
                for name, pixels in self._frame_pixels(event.step).items():
                    self._client.log_image(self._id, pixels, key=name.replace("/", "-"), step=event.step)

    def close(self, reason: str) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._id, STATUS.get(reason, "FAILED"))

    def _goes_on(self, identity: str | None) -> bool:
        """Whether the run of that id is still there; then it runs again."""
        if identity is None:
            return False
        with suppress(MlflowException):
            if self._client.get_run(identity).info.lifecycle_stage == "active":
                self._client.update_run(identity, status="RUNNING")
                return True
        return False

    def _create(self, run: Path, config: Mapping[str, Any]) -> str:
        """A new run with its settings; its id."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "convscope")
        experiment = self._client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self._client.create_experiment(name)
        identity = self._client.create_run(place, run_name=run.name).info.run_id
        parameters = [Param(key, str(value)) for key, value in settings(config).items()]
        for start in range(0, len(parameters), AT_ONCE[1]):
            self._client.log_batch(identity, params=parameters[start : start + AT_ONCE[1]])
        return identity
