"""Surveys in files: reused for the same images and weights, made anew for any others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError

from convscope.durable import refusal_told, replace_file, to_json
from convscope.methods.surveys.survey import Half, half_of, resolved_layers, survey
from convscope.methods.surveys.tally import LayerSurvey
from convscope.ranks import ALONE, Ranks
from convscope.types import Dataset, Network, Progress, no_progress

FORMAT = 2  # counted up when what a survey holds changes
STORED = 9  # the fewest images a channel that are stored, so that one pass serves most later questions


def stored_survey(
    network: Network,
    dataset: Dataset,
    layers: Iterable[str] | None = None,
    *,
    store: Path | None,
    count: int = 9,
    split: Half = "train",
    progress: Progress = no_progress,
    ranks: Ranks = ALONE,
) -> dict[str, LayerSurvey]:
    """The survey of each layer, by dotted name: what `store` holds of these images and weights, and the rest anew.

    The rest is added to the folder `store`/survey, which is made when it is missing. What is damaged, of other
    images or weights, or of fewer images a channel is made anew. With `store` None nothing is read or written.
    Several ranks share what is made anew; the leader writes it, and all see the folder.
    Raises what `survey` raises, and ResourceError where the disk refuses.
    """
    half_of(dataset, split)
    names = resolved_layers(network, layers)
    if store is None or count < 1:
        return survey(network, dataset, names, count=count, split=split, progress=progress, ranks=ranks)
    about = {
        "format": FORMAT,
        "dataset": dataset.fingerprint,
        "split": split,
        "weights": weights_identity(network),
        "normalization": [list(network.mean), list(network.std)],
    }
    folder = store / "survey"
    record, held = load_survey(folder, split)
    kept = record.get("count", 0)
    if kept < count or {key: record.get(key) for key in about} != about:
        held, kept = {}, max(count, STORED)
    if missing := [name for name in names if ranks.agree(name not in held)[0]]:
        held |= survey(network, dataset, missing, count=kept, split=split, progress=progress, ranks=ranks)
        if ranks.leads:
            save_survey(folder, held, {**about, "count": kept})
    return {name: held[name].first(count) for name in names}


def save_survey(folder: Path, surveys: Mapping[str, LayerSurvey], record: Mapping[str, Any]) -> None:
    """Write surveys beside the record of what they are of, whose "split" names the files.

    Raises ResourceError where the disk refuses.
    """
    arrays = {
        f"{each.name}:{name}": np.ascontiguousarray(getattr(layer, each.name))
        for name, layer in surveys.items()
        for each in fields(layer)
    }
    data = safetensors.numpy.save(arrays)
    checked = {**record, "sha256": hashlib.sha256(data).hexdigest()}
    with refusal_told(f"save the survey in {folder}", "make room there"):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / f"{record['split']}.safetensors", data)
        replace_file(folder / f"{record['split']}.json", to_json({**checked, "record_sha256": _sum(checked)}))


def load_survey(folder: Path, split: str) -> tuple[dict[str, Any], dict[str, LayerSurvey]]:
    """The record and the surveys that were saved last; both empty where there are none whole."""
    try:
        record: dict[str, Any] = json.loads((folder / f"{split}.json").read_bytes())
        data = (folder / f"{split}.safetensors").read_bytes()
        if record.pop("record_sha256") != _sum(record) or record.pop("sha256") != hashlib.sha256(data).hexdigest():
            return {}, {}
        tensors: dict[str, dict[str, Any]] = {}
        for key, value in safetensors.numpy.load(data).items():
            what, _, layer = key.partition(":")
            tensors.setdefault(layer, {})[what] = value
        return record, {layer: LayerSurvey(**arrays) for layer, arrays in tensors.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return {}, {}


def weights_identity(network: Network) -> str:
    """What tells the weights from others: SHA-256 over the names, types, shapes and values of the model's state.

    It is of what is in memory: weights that were changed since they were loaded are others than their file's.
    """
    found = hashlib.sha256()
    for name, value in network.model.state_dict().items():
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _sum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(record)).hexdigest()
