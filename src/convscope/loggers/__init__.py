"""LOGGERS: the tools in which people watch their trainings already; each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from convscope.errors import UsageError
from convscope.tables import Entry, look_up

__all__ = ["LOGGERS", "load_loggers"]

LOGGERS: dict[str, Entry] = {
    "tensorboard": Entry("convscope.loggers.tensorboard:TensorBoard", "event files in the run's folder"),
    "visdom": Entry(
        "convscope.loggers.visdom:Visdom", "a Visdom server: VISDOM_SERVER:VISDOM_PORT, or localhost:8097"
    ),
    "wandb": Entry("convscope.loggers.wandb:WeightsAndBiases", "Weights & Biases; offline unless you are logged in"),
    "mlflow": Entry("convscope.loggers.mlflow:MLflow", "MLflow at MLFLOW_TRACKING_URI, or ./mlflow.db and ./mlruns"),
}


def load_loggers(names: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """What opens each of the named loggers, once each. Raises UsageError for a name or a package that is not there.

    >>> load_loggers(["tensorbord"])
    Traceback (most recent call last):
    convscope.errors.UsageError: no logger "tensorbord"; closest: tensorboard; list them: convscope loggers
    """
    return {name: _load(name) for name in dict.fromkeys(names)}


def _load(name: str) -> Callable[..., Any]:
    entry = look_up(LOGGERS, name, kind="logger")
    try:
        return entry.load()
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"--log {name} needs a package more: pip install 'convscope[{name}]' ({reason})") from error
