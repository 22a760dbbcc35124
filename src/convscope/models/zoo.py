"""Any network by its name: ours, torchvision's, timm's, Hugging Face's or anyone's, with what it takes to feed it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import CheckpointError, UsageError
from convscope.models import MODELS, build_model, seeded
from convscope.models.factories import FORMS, call_factory, call_named_factory, factory_folder
from convscope.models.feed import Feed
from convscope.models.huggingface import (
    huggingface_again,
    huggingface_config,
    huggingface_feed,
    huggingface_model,
)
from convscope.models.libraries import timm_feed, timm_model, torchvision_feed, torchvision_model
from convscope.models.stages import name_stages
from convscope.models.weights import head_classes, head_name, load_weights, read_weights, replace_head
from convscope.types import Network, Say, say_nothing

PRETRAINED = "pretrained"
"""The word for the weights that a network's own library has for it."""

STANDARD = Feed((0.5,) * 3, (0.25,) * 3, (32, 32))
"""What one of our own is fed that is not a run."""


def zoo_network(
    name: str,
    *,
    weights: str | None = None,
    image_size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
    seed: int = 0,
    say: Say = say_nothing,
) -> Network:
    """The network that `name` stands for, fed as its source says, or as the keywords do.

    Weights are random, drawn by the seed, unless `weights` is a .safetensors file or "pretrained", which lets the
    network's own library read or download them; a head for other classes than the file's gets as many as that.
    `module:function` is any importable function without arguments that gives a Network, or a model, for which
    `image_size`, `mean` and `std` have to be named. `say` is told what could not be used or known.
    Raises UsageError for an unknown name, a package that is missing and what does not fit together, CheckpointError
    for weights that do not fit, and DataError for what cannot be downloaded.

    >>> zoo_network("resnet8", image_size=8).input_size
    (8, 8)
    """
    weights = weights or default_weights(name)
    notes: list[str] = []  # said of a network that came about
    with seeded(seed):
        model, known, called = _made(name, pretrained=weights == PRETRAINED)
    if weights and weights != PRETRAINED:
        notes += _load(model, Path(weights))
    elif not weights and is_library(name):
        notes.append(f"{name} has random weights; --weights FILE reads some, --weights pretrained downloads them")
    if name in MODELS:
        notes.append(f"{name} stands alone: images with mean 0.5 and deviation 0.25; a run knows its own")
    size = (image_size, image_size) if image_size else known.input_size
    mean, std = mean or known.mean, std or known.std
    if size is None or mean is None or std is None:
        missing = [
            flag for flag, value in (("--input-size", size), ("--mean", mean), ("--std", std)) if value is None
        ]
        raise UsageError(f"{name} does not say what it is fed: name {', '.join(missing)}{_or_whole(name)}")
    model.eval()
    scores = check_size(model, name, size, channels=len(mean), flag="--input-size")
    classes = scores.shape[1] if scores.ndim == 2 else 0
    network = Network(model, mean, std, size, _class_names(name, classes, class_names, known, notes), called)
    for note in notes:
        say(note)
    return network


def _made(name: str, *, pretrained: bool) -> tuple[nn.Module, Feed, str]:
    """The model with the classes of its source, what is known of how it is fed, and what it is called."""
    if name in MODELS:
        if pretrained:
            raise UsageError(f"--weights pretrained is for networks of libraries; {name} is trained by convscope run")
        return MODELS[name].load()(class_count=10), STANDARD, name
    if is_library(name):
        return library_model(name, None, pretrained=pretrained), library_feed(name, pretrained=pretrained), name
    if not is_factory(name):
        raise UsageError(f'no network "{name}"; allowed: {FORMS}, or one of convscope models')
    made = call_factory(name)
    if pretrained:
        raise UsageError(f"--weights pretrained is for networks of libraries; let {name} load its own")
    return *_parts(made), made.name if isinstance(made, Network) else name


def _parts(made: nn.Module | Network) -> tuple[nn.Module, Feed]:
    """What a factory gave: its model, and what it says of how it is fed."""
    if isinstance(made, Network):
        return made.model, Feed(made.mean, made.std, made.input_size, made.class_names or None)
    return made, Feed()


def _load(model: nn.Module, path: Path) -> list[str]:
    """Load a file's weights, with a head for as many classes as it has; what is to be said of that."""
    tensors = read_weights(path)
    notes: list[str] = []
    head = ""
    with suppress(CheckpointError):
        head = head_name(model)
    rows = tensors.get(f"{head}.weight")
    if head and rows is not None and rows.ndim == 2 and len(rows) != head_classes(model):
        replace_head(model, len(rows))
        notes.append(f"the weights are for {len(rows):,} classes, so the head {head} has as many")
    unused = load_weights(model, tensors, source=str(path))
    if unused:
        random = (
            "; the head keeps random weights" if head and any(each.startswith(f"{head}.") for each in unused) else ""
        )
        notes.append(f"{len(unused)} entries of {path} are not used, first {unused[0]}{random}")
    return notes


def _class_names(
    name: str, classes: int, given: tuple[str, ...] | None, known: Feed, notes: list[str]
) -> tuple[str, ...]:
    """A name for each class: those given, else those known where they are as many, else numbers."""
    if given is not None and len(given) != classes:
        raise UsageError(f"{len(given)} class names for {name}, which gives {classes} scores; allowed: one for each")
    names = given or known.class_names
    if names and len(names) == classes:
        return names
    if classes and known is not STANDARD:
        notes.append(f"the {classes:,} classes of {name} are numbers; name them with --classes FILE")
    return tuple(str(index) for index in range(classes))


def _or_whole(name: str) -> str:
    return ", or let it give a convscope.Network" if is_factory(name) else ""


def is_library(name: str) -> bool:
    """Whether it is the name of a library's network."""
    source, _, inner = name.partition(":")
    return source in ("torchvision", "timm", "huggingface") and bool(inner)


def is_factory(name: str) -> bool:
    """Whether it is module:function.

    >>> is_factory("my_networks:build_model"), is_factory("timm:resnet18"), is_factory("resnet8")
    (True, False, False)
    """
    module, _, function = name.partition(":")
    return bool(module and function) and not is_library(name)


def default_weights(name: str) -> str | None:
    """The weights of a network for which none are named: a folder of Hugging Face brings its own."""
    source, _, place = name.partition(":")
    return PRETRAINED if source == "huggingface" and Path(place).is_dir() else None


def library_feed(name: str, *, pretrained: bool) -> Feed:
    """What a library says of how its network is fed. Raises what `zoo_network` raises."""
    source, _, inner = name.partition(":")
    if source == "huggingface":
        return huggingface_feed(inner, pretrained=pretrained)
    return torchvision_feed(inner) if source == "torchvision" else timm_feed(inner)


def library_model(name: str, class_count: int | None, *, pretrained: bool = False) -> nn.Module:
    """A library's network, for its own classes or so many. Raises what `zoo_network` raises."""
    source, _, inner = name.partition(":")
    build = {"torchvision": torchvision_model, "timm": timm_model, "huggingface": huggingface_model}[source]
    return name_stages(build(inner, class_count, pretrained=pretrained))


def feed_of(name: str, *, pretrained: bool = False) -> Feed:
    """What is known of how the network of that name is fed; of ours nothing, since a training decides it."""
    if name in MODELS:
        return Feed()
    if is_library(name):
        return library_feed(name, pretrained=pretrained)
    with seeded(0):  # it may draw weights
        return _parts(call_factory(name))[1]


def other_model(name: str, class_count: int) -> nn.Module:
    """A library's network with random weights, or what a factory gives, with a head for so many classes."""
    if is_library(name):
        return library_model(name, class_count)
    return _with_classes(call_factory(name), class_count)


def _with_classes(made: nn.Module | Network, class_count: int) -> nn.Module:
    """A factory's model, with a new head where its own is for another number of classes."""
    model, _ = _parts(made)
    if head_classes(model) != class_count:
        replace_head(model, class_count)
    return model


def describe_model(name: str, model: nn.Module) -> dict[str, Any]:
    """What run.json says of a model, so that it can be built again: its name, and what that takes besides."""
    said: dict[str, Any] = {"name": name, "parameters": sum(each.numel() for each in model.parameters())}
    if is_factory(name):
        said["folder"] = factory_folder(name)
    if name.startswith("huggingface:"):
        said["config"] = huggingface_config(model)
    return said


def rebuild_model(name: str, described: Mapping[str, Any], *, class_count: int, seed: int) -> nn.Module:
    """The model of a run, with other weights yet. Raises UsageError for a factory that this user never named."""
    config = described.get("config")
    with seeded(seed):
        if is_factory(name):
            return _with_classes(call_named_factory(name, str(described.get("folder", ""))), class_count)
        if name.startswith("huggingface:") and isinstance(config, Mapping):
            return name_stages(huggingface_again(config, class_count))
    return build_model(name, class_count=class_count, seed=seed)


def check_size(model: nn.Module, name: str, size: tuple[int, int], *, channels: int, flag: str) -> Tensor:
    """What the model gives for a black image. Raises UsageError where it cannot take images of (H, W) = `size`."""
    try:
        with torch.no_grad():
            return model(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"{name} cannot take images of {size[0]}×{size[1]} pixels ({channels} channels): {reason}; "
            f"name another {flag}"
        ) from error
