"""The film of a training: what the network looked like at steps that lie ever farther apart."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.durable import write_quickly
from convscope.errors import UsageError
from convscope.hooks import frozen_eval, layer_aliases, like_model, list_layers, observe_outputs
from convscope.models.weights import head_name
from convscope.training.evaluate import evaluation_batch
from convscope.training.frames import FilmInfo, Frame, weights_path, write_frame, write_info
from convscope.training.schedule import Span
from convscope.training.state import serialize
from convscope.types import Dataset, EventKind, Network

FRAMES_A_PHASE = 32
BUDGET = 0.005
"""The share of the training's time that the film may take: with the dashboard open, less than a fiftieth together."""

SHORT, SHORT_BUDGET = 0.5, 0.02
"""So many seconds may the film of a short training take, up to that share: some frames more for who begins."""

PROBES = 4
"""Images whose feature maps are kept."""

JUDGES = 16
"""Images, the probes among them, on which a channel that answers to none counts as silent."""

MAP_CHANNELS, MAP_SIDE = 32, 32
WEIGHTS_BYTES = 200_000_000
"""What all the copies of the weights together may take on the disk."""

SILENT_ALARM = 0.25
"""The share of a layer's channels whose silence is an alarm."""

SETTLED = 100
"""Steps before which silence is no alarm: batch norm's running statistics are still far from what they follow."""


def film_steps(spans: Sequence[Span], *, frames: int = FRAMES_A_PHASE) -> list[int]:
    """The steps after which a frame is taken: close together where a phase begins, ever farther apart after it.

    >>> from convscope.training.schedule import plan
    >>> from convscope.types import Phase, Recipe
    >>> recipe = Recipe("", "", "", (Phase("adam", 1e-3, steps=100), Phase("sgd", 1e-2, steps=50)))
    >>> film_steps(plan(recipe, steps_per_epoch=10), frames=5)
    [0, 1, 5, 22, 100, 101, 104, 114, 150]
    """
    steps: set[int] = set()
    for span in spans:
        grid = np.geomspace(1, span.last - span.first, frames - 1)
        steps |= {span.first, *(span.first + np.rint(grid).astype(int)).tolist()}
    return sorted(steps)


def allowance(seconds: float) -> float:
    """Of so many seconds of training, those that the film may take.

    >>> allowance(10), allowance(60), allowance(1000)
    (0.2, 0.5, 5.0)
    """
    return max(BUDGET * seconds, min(SHORT, SHORT_BUDGET * seconds))


class Recorder:
    """Takes the frames of one training. The model is left as it was found, to the last bit."""

    def __init__(self, run: Path, network: Network, dataset: Dataset, spans: Sequence[Span]) -> None:
        """Choose the images and the layers. Raises UsageError for a network without a convolution."""
        self._run = run
        self._network = network
        self._due = film_steps(spans)
        self._borders = {spans[0].first, *(span.last for span in spans)}
        self._total = spans[-1].last
        self._alarmed: set[str] = set()
        self._began: tuple[int, float] | None = None  # the step and the seconds at which it was first asked
        self._spent = 0.0  # seconds, since then
        self._last = 0.0  # seconds that the newest frame took, and the newest copy of the weights
        self._copied = 0.0
        self._room = float("inf")  # seconds granted for the frame that is due
        judges = min(JUDGES, evaluation_batch(dataset.image_size, torch.device("cpu")))
        chosen = _spread_over_classes(dataset.test.labels, judges)
        self._judges = next(iter(dataset.test.images.batches([chosen])))  # (N, 3, H, W) uint8
        run_layers = list_layers(network.model, dataset.image_size, channels=len(dataset.mean))
        self._kernels = [layer.name for layer in run_layers if layer.kind == "Conv2d"]
        self._relus = [layer.name for layer in run_layers if layer.kind == "ReLU"]
        if not self._kernels:
            raise UsageError(f"{network.name} has no convolution to film; train it without a film")
        self._filter_layer = self._kernels[0]
        self._map_layers = [self._filter_layer, *layer_aliases(network.model).values()]
        probes = chosen[:PROBES]
        self._probes = len(probes)
        self._info = FilmInfo(
            self._filter_layer,
            self._map_layers,
            self._judges[: self._probes].numpy(),
            probes.tolist(),
            dataset.test.labels[probes].tolist(),
        )
        self._weights_due = self._choose_weights()

    def due(self, step: int, *, seconds: float) -> bool:
        """Whether to take a frame now, after `step` steps in `seconds` of training, the film's own included.

        Frames that the budget has no room for are left out, but never a phase's first or last. Copies of the weights
        go before frames do.
        """
        first, before = self._began = self._began or (step, seconds)
        if step not in self._due:
            return False
        self._room = float("inf")
        if step in self._borders or step == first:
            return True
        rate = max(seconds - before - self._spent, 0.0) / (step - first)  # seconds a step takes without the film
        due = [each for each in self._due if each >= first]
        share = (due.index(step) + 1) / len(due)  # so that it is not the last frames that are left out
        self._room = allowance(rate * (self._total - first)) * share - self._spent
        return self._last <= self._room

    def take(self, step: int) -> Iterator[tuple[EventKind, dict[str, Any]]]:
        """Write a frame, and yield the kind and data of each event that tells of it: "film", and perhaps "alarm".

        A disk that refuses ends the film with an alarm, and the training goes on.
        """
        began = time.monotonic()
        frame = self._look(step)
        try:
            if not self._spent:
                write_info(self._run, self._info)
            size = write_frame(self._run, frame)
            framed = time.monotonic()
            if weights := step in self._weights_due and self._last + self._copied <= self._room:
                size += write_quickly(weights_path(self._run, step), _half_precision(self._network.model))
        except OSError as error:
            self._due = []
            yield "alarm", {"what": "film", "message": f"the film ends here, it cannot be written: {error.strerror}"}
            return
        ended = time.monotonic()
        seconds = ended - began
        self._spent += seconds
        self._last = framed - began
        if weights:
            self._copied = ended - framed
        yield "film", {"weights": weights, "bytes": size, "seconds": round(seconds, 4)}
        for layer in frame.layers:
            silent, count = layer.get("silent", 0), layer["channels"]
            if step >= SETTLED and silent > SILENT_ALARM * count and layer["name"] not in self._alarmed:
                self._alarmed.add(layer["name"])
                who = f"{silent} of the {count} channels of {layer['name']}"
                text = f"{who} answer to none of {len(self._judges)} test images"
                yield "alarm", {"what": "silent channels", "layer": layer["name"], "message": text}

    def _look(self, step: int) -> Frame:
        """One pass of the judges through the model, and its weights."""
        model = self._network.model
        head = head_name(model)
        maps: dict[str, np.ndarray] = {}
        layers: dict[str, dict[str, Any]] = {}
        logits = np.zeros(0)

        def see(name: str, output: Tensor) -> None:
            nonlocal logits
            if name == head:
                logits = _small(output[: self._probes].float())
            if name in self._map_layers:
                shown = output[: self._probes, :MAP_CHANNELS].float()  # (P, C, H, W)
                if max(shown.shape[2:]) > MAP_SIDE:
                    height, width = (min(MAP_SIDE, side) for side in shown.shape[2:])
                    shown = F.adaptive_avg_pool2d(shown, (height, width))
                maps[name] = _small(shown)
            if name in self._relus:
                active = (output > 0).float().flatten(2) if output.ndim > 2 else (output > 0).float()[:, :, None]
                layers[name] = {
                    "name": name,
                    "kind": "ReLU",
                    "channels": active.shape[1],
                    "active": _rounded(active.mean()),
                    "silent": int((active.amax((0, 2)) == 0).sum()),
                }

        inputs = like_model(model, self._judges.float() / 255)
        with frozen_eval(model), torch.no_grad():
            observed = dict.fromkeys([*self._map_layers, *self._relus, head])
            observe_outputs(model, self._network.normalize(inputs), observed, see)
            for name in self._kernels:
                weight = model.get_submodule(name).get_parameter("weight")
                norm = _rounded(weight.float().norm())
                layers[name] = {"name": name, "kind": "Conv2d", "channels": len(weight), "weight_norm": norm}
            filters = _small(model.get_submodule(self._filter_layer).get_parameter("weight").float())
        ordered = [layers[name] for name, _ in model.named_modules() if name in layers]
        return Frame(step, filters, maps, logits, ordered)

    def _choose_weights(self) -> set[int]:
        """The steps of which all weights are kept: as many of the film's as the disk is granted, evenly chosen."""
        copy = 2 * sum(value.numel() for value in self._network.model.state_dict().values())
        room = min(len(self._due), WEIGHTS_BYTES // copy)
        if room < 2:
            return set()
        return {self._due[round(place)] for place in np.linspace(0, len(self._due) - 1, room)}


def _spread_over_classes(labels: Tensor, count: int) -> Tensor:
    """The numbers of `count` images, or of all: the first of each class, then the second of each, and so on."""
    order = labels.argsort(stable=True)
    sizes = labels.bincount()
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - starts[labels[order]]
    return rank.argsort(stable=True)[:count]


def _half_precision(model: nn.Module) -> Iterator[bytes]:
    """The model's weights as safetensors, in parts: matrices and kernels in fp16, the rest, small, as it is."""
    halves = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for name, value in model.state_dict().items()
    }
    return serialize(halves)


def _small(values: Tensor) -> np.ndarray:
    """float16 on the CPU, what is too large for it cut; NaN becomes zero."""
    return values.detach().nan_to_num().clamp(-65504, 65504).half().cpu().numpy()


def _rounded(value: Tensor) -> float | None:
    """Four significant digits; None where it is not finite, since JSON knows no NaN."""
    return float(f"{value.item():.4g}") if value.isfinite() else None
