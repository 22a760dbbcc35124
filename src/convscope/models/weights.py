"""Weights in files: safetensors only, so that opening one can never run code (others: see pickled)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from convscope.errors import CheckpointError

PICKLED = (".pt", ".pth", ".bin", ".ckpt")
"""How files of torch.save are called."""

HEADER_BYTES = 10_000_000
"""A header of names and shapes is never so long; read as JSON it takes many times the memory."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, by name.

    Raises CheckpointError where there is no such file, or it is of another kind, or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; allowed: a .safetensors file or a run folder")
    if path.suffix.lower() in PICKLED:
        raise CheckpointError(f"{path} is a pickle by its name; allowed: .safetensors, or this one with --allow-pt")
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if header > HEADER_BYTES:
            raise ValueError(f"a header of {header:,} bytes, at most {HEADER_BYTES:,} are allowed")
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({' '.join(str(error).split())}); "
            "convert others with safetensors.torch.save_file"
        ) from error


def head_name(model: nn.Module) -> str:
    """The dotted name of the layer that gives the class scores: the last linear layer.

    Raises CheckpointError for a model without one.

    >>> head_name(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)))
    '2'
    """
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise CheckpointError(
            f"no linear layer in {type(model).__name__}: its head cannot be found; wanted: a network whose last "
            "layer with weights is linear, as in most of torchvision and timm"
        )
    return names[-1]


def head_classes(model: nn.Module) -> int:
    """How many classes the head gives scores for. Raises CheckpointError for a model without one."""
    return cast("nn.Linear", model.get_submodule(head_name(model))).out_features


def replace_head(model: nn.Module, class_count: int) -> str:
    """Put a new head for so many classes in the old one's place, with random weights; its name.

    Raises CheckpointError for a model without one.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> replace_head(model, 7), model[1].out_features
    ('1', 7)
    """
    name = head_name(model)
    old = cast("nn.Linear", model.get_submodule(name))
    new = nn.Linear(old.in_features, class_count, bias="bias" in old.state_dict())
    model.set_submodule(name, new.to(old.weight.device, old.weight.dtype))
    return name


def load_weights(model: nn.Module, weights: dict[str, Tensor], *, source: str, keep_head: bool = True) -> list[str]:
    """Copy weights into the model, but not the head where the number of classes differs or `keep_head` is false.

    Returns the names of the entries that were not used. Raises CheckpointError, and changes nothing, where
    another entry is missing, has another shape, or holds another kind of numbers.
    """
    own = model.state_dict()
    for name in sorted(own.keys() & weights.keys()):
        if own[name].is_floating_point() != weights[name].is_floating_point() or weights[name].is_complex():
            raise CheckpointError(
                f"{name} is {weights[name].dtype} in {source} and {own[name].dtype} in the model; allowed: numbers "
                "of the same kind, such as any floating-point ones"
            )
    fitting = {name for name in own if name in weights and weights[name].shape == own[name].shape}
    if keep_head and fitting == own.keys():
        model.load_state_dict({name: weights[name] for name in own})  # also where no head can be told
        return sorted(weights.keys() - own.keys())
    head = head_name(model) + "."
    head_fits = keep_head and all(name in fitting for name in own if name.startswith(head))
    wanted = {name for name in own if head_fits or not name.startswith(head)}
    missing = sorted(name for name in wanted if name not in weights and not name.endswith("num_batches_tracked"))
    if missing:
        raise CheckpointError(
            f"{source} lacks {len(missing)} of the {len(own)} entries that the model has, first {missing[0]}; "
            "it is of another model: name that one with --model"
        )
    if others := sorted((wanted & weights.keys()) - fitting):
        name = others[0]
        raise CheckpointError(
            f"{name} is {tuple(weights[name].shape)} in {source} and {tuple(own[name].shape)} in the model; "
            "it is of another model: name that one with --model"
        )
    model.load_state_dict({name: weights[name] for name in wanted & fitting}, strict=False)
    return sorted(weights.keys() - wanted)


def freeze_all_but_head(model: nn.Module) -> None:
    """Leave only the head trainable; everything else keeps its weights and its batch statistics."""
    head = head_name(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(head + "."))
