"""A few steps of a training with each engine: which is the fastest, and which computes what fp32 computes."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convscope.errors import UsageError, in_one_line
from convscope.models.weights import freeze_all_but_head
from convscope.training.batches import Batches
from convscope.training.engine import Engine, place, training_forward, training_kernels
from convscope.training.loop import update
from convscope.training.optimizers import DenseOptimizer
from convscope.types import Dataset, Recipe

STEPS = 10
"""How many steps of each engine are timed at most."""

SECONDS = 6.0
"""How long two engines are held against each other at most, once both have run."""

MARGIN = 0.95
"""What an engine's step may take, as a share of the one before it, to be taken instead."""

COMPILED_FROM = 2400.0
"""The seconds of eager training from which compiling, which takes a minute or more, is tried."""


class Found(NamedTuple):
    """What a probe found."""

    engine: Engine
    images_per_second: dict[str, float]  # by engine, in words
    refused: dict[str, str]  # why, by engine


class Probe:
    """A few steps of a training, on copies of its model, with its own first batch."""

    def __init__(self, model: nn.Module, dataset: Dataset, recipe: Recipe, device: torch.device) -> None:
        self._model, self._recipe, self._device = model, recipe, device
        self._inputs, self._labels = next(Batches(dataset, recipe, device=device).stream(0, 1))

    def decide(self, allowed: list[Engine], *, steps: int) -> Found:
        """Hold each eager engine against the best so far, and last the best one compiled, where that is allowed."""
        refused: dict[str, str] = {}
        speeds: dict[str, float] = {}
        exact = self._gradients(Engine("fp32", "channels-last"))
        best, seconds = None, 0.0
        for engine in allowed:
            if engine.compiled != allowed[0].compiled:
                continue
            if why := self._wrong(engine, exact):
                refused[str(engine)] = why
            elif best is None:
                best = engine
            else:
                before, after = self._duel(best, engine)
                speeds |= {str(best): len(self._labels) / before, str(engine): len(self._labels) / after}
                seconds = before
                if after < MARGIN * before:
                    best, seconds = engine, after
        if best is None:
            raise UsageError(
                "no engine that the recipe allows gives what fp32 gives on this machine: --precision fp32"
            )
        compiled = dataclasses.replace(best, compiled=True)
        if compiled in allowed and compiled != best:
            seconds = seconds or self._duel(best, best)[0]  # there was nothing to hold it against
            if seconds * steps > COMPILED_FROM:
                best = self._try_compiled(best, steps, exact, speeds, refused)
        rounded = {name: round(speed, 1) for name, speed in speeds.items()}
        return Found(best, rounded, refused)

    def _try_compiled(
        self,
        best: Engine,
        steps: int,
        exact: tuple[float, list[Tensor]],
        speeds: dict[str, float],
        refused: dict[str, str],
    ) -> Engine:
        """The best engine compiled, where that is right and saves more than compiling takes; else as it is."""
        engine = dataclasses.replace(best, compiled=True)
        began = time.perf_counter()
        why = self._wrong(engine, exact)
        compiling = time.perf_counter() - began
        if why:
            refused[str(engine)] = why
            return best
        before, after = self._duel(best, engine)
        speeds[str(engine)] = len(self._labels) / after
        return engine if after * steps + compiling < MARGIN * before * steps else best

    def _duel(self, first: Engine, second: Engine) -> tuple[float, float]:
        """The seconds that a step takes with each, timed by turns; ended early where the second is far behind."""
        turns = (self._steps(first), self._steps(second))
        for turn in turns:  # the first steps build what the others use
            next(turn)
            next(turn)
        times: tuple[list[float], list[float]] = ([], [])
        began = time.perf_counter()
        while len(times[0]) < STEPS and time.perf_counter() - began < SECONDS:
            for turn, found in zip(turns, times, strict=True):
                found.append(next(turn))
            if len(times[0]) == 3 and min(times[1]) > 1.5 * min(times[0]):
                break
        return statistics.median(times[0]), statistics.median(times[1])

    def _steps(self, engine: Engine) -> Iterator[float]:
        """The seconds of one step after another."""
        model = self._copy(engine)
        forward = training_forward(model, engine, self._device)
        optimizer = DenseOptimizer(model, self._recipe.phases[0])
        kernels = training_kernels(model, engine, self._device)
        smoothing = self._recipe.label_smoothing
        while True:
            began = time.perf_counter()
            with kernels:
                update(forward, optimizer, self._inputs, self._labels, rate=1e-4, seed=0, label_smoothing=smoothing)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            yield time.perf_counter() - began

    def _wrong(self, engine: Engine, exact: tuple[float, list[Tensor]]) -> str:
        """What is wrong with what the engine computes, or nothing."""
        try:
            loss, gradients = self._gradients(engine)
        except Exception as error:  # a backend may fail in ways of its own: then this machine does without it
            return in_one_line(error)
        return compare_gradients(loss, gradients, *exact, precision=engine.precision)

    def _gradients(self, engine: Engine) -> tuple[float, list[Tensor]]:
        """The loss and the weights' gradients of the batch, without dropout, which no two precisions draw alike."""
        model = self._copy(engine)
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):  # pyright: ignore[reportPrivateUsage]
                module.eval()
        with training_kernels(model, engine, self._device):
            logits = training_forward(model, engine, self._device)(self._inputs)
            loss = F.cross_entropy(logits, self._labels)
            loss.backward()
        weights = [parameter for parameter in model.parameters() if parameter.grad is not None and parameter.ndim > 1]
        return loss.item(), [weight.grad.double() for weight in weights if weight.grad is not None]

    def _copy(self, engine: Engine) -> nn.Module:
        """The model once more, as the engine trains it."""
        model = copy.deepcopy(self._model).train()
        if self._recipe.freeze:
            freeze_all_but_head(model)
        return place(model, self._device, engine.memory_format)


def compare_gradients(
    loss: float, gradients: list[Tensor], exact_loss: float, exact: list[Tensor], *, precision: str
) -> str:
    """What is wrong with a loss and its gradients, given those of fp32; empty where nothing is.

    In fp32 only the order of sums may differ. Rounding to bf16 turns the gradients of a random ResNet-18 by up to 25
    degrees; a convolution that is computed wrongly turns them by about 90.

    >>> compare_gradients(2.3, [torch.tensor([0.0, 1.0])], 2.3, [torch.tensor([1.0, 0.0])], precision="bf16")
    "a gradient's cosine with fp32's is 0.00"
    """
    share, least = (0.001, 0.99) if precision == "fp32" else (0.03, 0.7)
    if not abs(loss - exact_loss) <= share * max(1.0, abs(exact_loss)):
        return f"the loss is {loss:.4g}, fp32's {exact_loss:.4g}"
    pairs = [(a.flatten(), b.flatten()) for a, b in zip(gradients, exact, strict=True) if b.any()]
    if not pairs:
        return ""
    cosines = [F.cosine_similarity(a, b, dim=0).item() for a, b in pairs]
    lengths = [(a.norm() / b.norm()).item() for a, b in pairs]
    if not min(cosines) >= least:
        return f"a gradient's cosine with fp32's is {min(cosines):.2f}"
    if not (min(lengths) > 0.5 and max(lengths) < 2):
        return f"a gradient is {min(lengths):.2g} to {max(lengths):.2g} times as long as fp32's"
    return ""
