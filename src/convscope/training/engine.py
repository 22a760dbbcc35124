"""Where and how exactly a network is computed: device, precision, memory format, eager or compiled."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from convscope import __version__
from convscope.errors import UsageError
from convscope.ranks import ALONE, Ranks
from convscope.training.shared_norm import SharedNorms
from convscope.training.small_maps import SmallMaps
from convscope.types import Recipe

Precision = Literal["fp32", "bf16"]
MemoryFormat = Literal["channels-last", "contiguous"]
FORMATS = {"channels-last": torch.channels_last, "contiguous": torch.contiguous_format}

BF16_BY = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}
"""What of a processor multiplies bf16, by torch's names."""


@dataclass(frozen=True)
class Engine:
    """How a network is computed; a run keeps it in run.json, so that a resumption does the same."""

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "channels-last"
    compiled: bool = False

    def __str__(self) -> str:
        """In words, such as "bf16, channels-last, eager"."""
        return f"{self.precision}, {self.memory_format}, {'compiled' if self.compiled else 'eager'}"


def engine_by_rule(recipe: Recipe, device: torch.device) -> Engine:
    """What the recipe names; where it says "auto", what is best on most machines of that kind."""
    return Engine(
        resolve_precision(recipe.precision, device),
        "contiguous" if recipe.memory_format == "contiguous" else "channels-last",
        recipe.compiled == "yes",
    )


def select_device(name: str) -> torch.device:
    """The device of that name, or for "auto" the first CUDA GPU where there is one and the CPU elsewhere.

    Raises UsageError for a device that this machine does not have.

    >>> select_device("cpu")
    device(type='cpu')
    """
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":  # each of torchrun's processes on a machine has a GPU of its own
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if len(available) > 1 else "cpu"
    if name in available or (name == "cuda" and len(available) > 1):
        return torch.device(name)
    raise UsageError(f'no device "{name}" on this machine; allowed: auto, {", ".join(available)}')


def resolve_precision(wanted: Literal["fp32", "bf16", "auto"], device: torch.device) -> Precision:
    """What "auto" is on this machine: bf16 where the hardware computes it and torch does so well, else fp32.

    On CPUs that takes AVX512-BF16 and torch 2.15: bf16 convolutions of 2.13 and 2.14 are up to 16 times slower
    (pytorch issue 183815).
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    # The only public word on the CPU's arithmetic; a torch without it gets fp32, which is always right.
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if device.type == "cpu" and has_bf16 and release >= (2, 15) else "fp32"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which forward passes run in that precision; weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def place(model: nn.Module, device: torch.device, memory_format: MemoryFormat = "channels-last") -> nn.Module:
    """The model on its device, in channels-last memory unless told otherwise: the faster one nearly everywhere."""
    return model.to(device=device, memory_format=FORMATS[memory_format])  # pyright: ignore[reportCallIssue]


def training_forward(
    model: nn.Module, engine: Engine, device: torch.device, ranks: Ranks = ALONE
) -> Callable[[Tensor], Tensor]:
    """What gives the model's logits (N, classes) float32 for the inputs (N, 3, H, W) of a training step.

    The model itself stays what it is, for hooks and for evaluation, also where a compiled one computes. Of several
    ranks each computes its share, with the batch norms of the whole batch, and gets the mean of all gradients.
    """
    layout = FORMATS[engine.memory_format]
    learner: Any = model if ranks.alone else _share_gradients(model)
    learner = torch.compile(learner) if engine.compiled else learner
    norms = nullcontext() if ranks.alone else SharedNorms(model, ranks)

    def forward(inputs: Tensor) -> Tensor:
        with autocast(device, engine.precision), norms:
            return learner(inputs.contiguous(memory_format=layout)).float()

    return forward


def training_kernels(
    model: nn.Module, engine: Engine, device: torch.device
) -> SmallMaps | AbstractContextManager[None]:
    """Within it, a training step's small maps are computed as products, also those that its backward pass repeats."""
    fits = device.type == "cpu" and engine.memory_format == "channels-last" and not engine.compiled
    return SmallMaps(model) if fits else nullcontext()


def _share_gradients(model: nn.Module) -> nn.Module:
    """A module around the model whose gradients are the mean of all ranks'."""
    with warnings.catch_warnings():  # the newer name, forward_sync_buffers, is not known to torch 2.13
        warnings.simplefilter("ignore", FutureWarning)
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """What a run's provenance says of the machine: processor, cores, threads, device, system."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        **gpu,
    }


def describe_versions() -> dict[str, str]:
    """The versions that a run's numbers depend on."""
    return {
        "convscope": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _processor() -> str:
    """The processor by the name that Linux tells or Python knows, its arithmetic, and what oneDNN is held to."""
    name = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    has = getattr(torch.cpu, "get_capabilities", dict)()
    used = [torch.backends.cpu.get_cpu_capability()]
    used += [words for key, words in BF16_BY.items() if has.get(key)]
    used += [f"{key}={os.environ[key]}" for key in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA") if key in os.environ]
    return f"{name} ({', '.join(used)})"
