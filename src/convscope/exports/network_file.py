"""A network as one file that runs without convscope: ONNX, or a torch.export program; checked by running it."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convscope import __version__
from convscope.durable import make_place, replace_file
from convscope.errors import ConvscopeError, NumericsError, UsageError, in_one_line
from convscope.hooks import frozen_eval, like_model
from convscope.models.feed import package
from convscope.types import Network

INPUT, OUTPUT = "images", "logits"
BATCH = 2  # of the example; any other is as good, since the file takes batches of any size
CHECKED = (1, 5)  # images at a time
TOLERANCE = 1e-4
"""The largest difference that the file's logits may have, as a share of the network's largest."""

ONNX_BYTES = 2**31 - 2**24
"""An ONNX file cannot hold more; a little is left for what is not weights."""

Write = Callable[[nn.Module, Tensor, dict[str, str]], bytes]
"""A file's content, of a module that takes such images, with texts for its metadata."""

Answer = Callable[[Tensor], Tensor]
"""The logits that a file gives for images."""


class NetworkFile(NamedTuple):
    """A network as it was written."""

    path: Path
    bytes: int
    difference: float  # the largest of any logit from the network's own, over batches of CHECKED random images
    checked_by: str  # what ran the file


class _WithNormalization(nn.Module):
    """Images (N, C, H, W) float32 in [0, 1] to logits (N, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.model = copy.deepcopy(network.model).cpu().float()
        self.model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.register_buffer("mean", torch.tensor(network.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(network.std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.model((images - self.mean) / self.std)


def export_network(network: Network, path: str | Path) -> NetworkFile:
    """Write a network as `.onnx` or as `.pt2`, which torch.export.load reads, after running what is written.

    The file takes `images` (N, C, H, W) float32 RGB in [0, 1], of the network's input size and N at will, and gives
    `logits` (N, classes): the normalization is within. Name, class names, input size, mean, deviation and the
    weights' hash are in its metadata (a .pt2 has them as the extra file `convscope.json`). The model is left as it
    was found. Raises UsageError for another ending, a missing package, and a network that cannot be exported;
    NumericsError where the network's logits are not finite, ConvscopeError where the file's are others; and then
    writes nothing.
    """
    path = Path(path)
    write, open_file = _writer(path)
    module = _WithNormalization(network)
    example = torch.zeros(BATCH, len(network.mean), *network.input_size)
    with frozen_eval(module), torch.no_grad():
        try:
            data = write(module, example, _metadata(network))
            answer, checked_by = open_file(data)
            difference = _difference(network, answer)
        except ConvscopeError:
            raise
        except Exception as error:  # exporters raise of all kinds, at length
            raise UsageError(f"{network.name} cannot be exported as {path.suffix}: {in_one_line(error)}") from error
    make_place(path)
    replace_file(path, data)
    return NetworkFile(path, len(data), difference, checked_by)


def _writer(path: Path) -> tuple[Write, Callable[[bytes], tuple[Answer, str]]]:
    """What writes a network as that ending says, and what opens the file to run it, with its name."""
    if path.suffix.lower() == ".pt2":
        return _pt2, _run_pt2
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path}; allowed: a name that ends in .onnx or .pt2")
    for name in ("onnx", "onnxscript", "onnxruntime"):  # before anything is computed
        package(name, ".onnx", extra="onnx")
    return _onnx, _run_onnx


def _metadata(network: Network) -> dict[str, str]:
    """What the file says of itself, as texts."""
    height, width = network.input_size
    values: dict[str, Any] = {
        "name": network.name,
        "input": f"{INPUT}: (N, {len(network.mean)}, {height}, {width}) float32 in [0, 1]; it is normalized within",
        "output": f"{OUTPUT}: (N, classes); softmax makes them probabilities",
        "class_names": list(network.class_names),
        "input_size": list(network.input_size),
        "mean": list(network.mean),
        "std": list(network.std),
        "weights_sha256": network.weights_sha256,
        "software": f"convscope {__version__}, torch {torch.__version__}",
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in values.items()
    }


def _pt2(module: nn.Module, example: Tensor, about: dict[str, str]) -> bytes:
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"convscope.json": json.dumps(about, ensure_ascii=False)})
    return file.getvalue()


def _run_pt2(data: bytes) -> tuple[Answer, str]:
    """The program, loaded again: what was written a moment ago, so its pickles are ours."""
    return torch.export.load(io.BytesIO(data)).module(), f"torch {torch.__version__}"


def _onnx(module: nn.Module, example: Tensor, about: dict[str, str]) -> bytes:
    if (size := sum(value.numel() * value.element_size() for value in module.state_dict().values())) > ONNX_BYTES:
        raise UsageError(f"{size:,} bytes of weights; an ONNX file holds {ONNX_BYTES:,} at most: name a .pt2")
    program = torch.onnx.export(
        module,
        (example,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert program is not None  # it is None for the exporter of old only
    program.model.metadata_props.update(about)
    return program.model_proto.SerializeToString()


def _run_onnx(data: bytes) -> tuple[Answer, str]:
    onnxruntime: Any = import_module("onnxruntime")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        [logits] = session.run([OUTPUT], {INPUT: images.numpy()})
        return torch.from_numpy(logits)

    return answer, f"onnxruntime {onnxruntime.__version__}"


def _difference(network: Network, answer: Answer) -> float:
    """The largest difference of the file's logits from the network's own. Raises ConvscopeError where it is wrong."""
    dice = torch.Generator().manual_seed(0)
    largest = 0.0
    for count in CHECKED:
        images = torch.rand(count, len(network.mean), *network.input_size, generator=dice)
        with frozen_eval(network.model):
            expected = network(like_model(network.model, images)).cpu().float()
        if not expected.isfinite().all():
            raise NumericsError(f"{network.name} gives logits that are not finite; nothing is written")
        difference = _apart(answer(images), expected)
        if not difference <= TOLERANCE * float(expected.abs().max()):
            raise ConvscopeError(
                f"what was exported gives other logits than {network.name}: they differ by {difference:.2g} for "
                f"{count} random images; nothing is written; please report it"
            )
        largest = max(largest, difference)
    return largest


def _apart(found: Float[Tensor, "n classes"], expected: Float[Tensor, "n classes"]) -> float:
    """The largest absolute difference."""
    return float((found - expected).abs().max())
