"""What goes wrong inside a training: numbers that are not finite, and memory that runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convscope.training import batches, checkpoint, evaluate, film, optimizers, state
from tests.faults import tiny

NAN_PLACES = ("inputs", "weights", "gradients", "optimizer's state", "running variance")
"""Where NaN can come in; the images that are tested on are the same path as the inputs."""


@dataclass
class Poison:
    """NaN, planted at one place at one step, from 1."""

    place: str
    step: int

    def plant(self) -> None:
        """Plant it."""
        if self.place == "inputs":
            prepare = batches.Batches._prepare

            def prepared(batch: Any, images: Any, step: int) -> Any:
                found = prepare(batch, images, step)
                return found.fill_(torch.nan) if step + 1 == self.step else found

            batches.Batches._prepare = prepared
            return
        step = optimizers.DenseOptimizer.step
        calls = 0

        def stepped(optimizer: Any, **named: Any) -> None:
            nonlocal calls
            calls += 1
            model = optimizer.faults_model
            if calls == self.step and self.place == "gradients":
                model.fc.weight.grad[0, 0] = torch.nan
            step(optimizer, **named)
            if calls == self.step and self.place == "weights":
                model.conv2.weight.data[0, 0, 0, 0] = torch.inf
            if calls == self.step and self.place == "running variance":
                model.bn1.running_var[0] = torch.nan
            if calls == self.step and self.place == "optimizer's state":
                for values in optimizer._optimizer.state.values():
                    for value in values.values():
                        value.fill_(torch.nan)

        begin = optimizers.DenseOptimizer.__init__

        def begun(optimizer: Any, model: nn.Module, *given: Any, **named: Any) -> None:
            begin(optimizer, model, *given, **named)
            optimizer.faults_model = model

        optimizers.DenseOptimizer.__init__ = begun
        optimizers.DenseOptimizer.step = stepped


MEMORY_PLACES = ("loading", "building", "forward", "optimizer", "evaluation", "saving", "filming", "batch")
"""Where memory can run out."""

MEMORY_ERRORS: dict[str, Callable[[], Exception]] = {
    "Python": MemoryError,
    "CUDA": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 1 MiB free."),
    "CPU": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
}
"""How Python and torch say it."""


@dataclass
class OutOfMemory:
    """No memory at one place, at its call of that number, as the source of that name says it."""

    place: str
    call: int
    source: str

    def plant(self) -> None:
        """Plant it."""
        owner, name = {
            "loading": (tiny, "load_planted"),
            "building": (tiny, "tiny_net"),
            "forward": (tiny.TinyNet, "forward"),
            "optimizer": (optimizers.DenseOptimizer, "step"),
            "evaluation": (evaluate.Network, "normalize"),
            "saving": (checkpoint, "serialize"),
            "filming": (film.Recorder, "_look"),
            "batch": (batches.Batches, "_prepare"),
        }[self.place]

        original, calls = getattr(owner, name), 0

        def called(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call and self.place == "saving":
                return self._first_part(original(*given))
            if calls == self.call:
                raise MEMORY_ERRORS[self.source]()
            return original(*given, **named)

        setattr(owner, name, called)

    def _first_part(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Of a file that is written part after part the first one, and then the error."""
        state.PART = 100  # bytes, so that a tiny network's has several
        yield next(parts)
        raise MEMORY_ERRORS[self.source]()
