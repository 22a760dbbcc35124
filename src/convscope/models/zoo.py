"""Other people's networks: torchvision:NAME, timm:NAME, or module:factory, with what it takes to feed them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope.errors import UsageError, closest
from convscope.models import MODELS
from convscope.models.weights import load_weights, read_weights
from convscope.tables import look_up
from convscope.types import Network

PRETRAINED = "pretrained"
FORMS = "torchvision:NAME, timm:NAME or module:factory"


def zoo_network(
    name: str,
    *,
    weights: str | None = None,
    image_size: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Network:
    """The network that `name` stands for, with the mean, deviation, size and classes that its source gives.

    Weights are random, drawn by the seed, unless `weights` is a .safetensors file or "pretrained", which lets the
    network's own library download them. `module:factory` is any importable function without arguments that gives a
    Network, or a model, which is then fed images of `image_size` with mean 0.5 and deviation 0.25. `say` is told
    what could not be used or known. Raises UsageError for an unknown name and a package that is missing, and
    CheckpointError for weights that do not fit.

    >>> zoo_network("torch.nn:Identity", image_size=8).input_size
    (8, 8)
    """
    source, _, inner = name.partition(":")
    if name not in MODELS and not (source and inner):
        raise UsageError(f'no network "{name}"; allowed: {FORMS}, or one of convscope models')
    notes: list[str] = []  # said of a network that came about
    make = _own if name in MODELS else {"torchvision": _torchvision, "timm": _timm}.get(source, _factory)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = make(name, weights == PRETRAINED, image_size, notes.append)
    if weights and weights != PRETRAINED:
        unused = load_weights(network.model, read_weights(Path(weights)), source=weights)
        if unused:
            notes.append(
                f"{len(unused)} entries of {weights} are not used, first {unused[0]}; the head keeps random weights"
            )
    elif not weights and make in (_torchvision, _timm):
        notes.append(f"{name} has random weights; --weights FILE reads some, --weights pretrained downloads them")
    network.model.eval()
    _check_size(network)
    for note in notes:
        say(note)
    return network


def _check_size(network: Network) -> None:
    """Raise UsageError where the network cannot take images of the size that it is to be fed."""
    height, width = network.input_size
    try:
        with torch.no_grad():
            network(torch.zeros(1, len(network.mean), height, width))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"{network.name} cannot take images of {height}×{width} pixels: {reason}; name another --input-size"
        ) from error


def _own(name: str, pretrained: bool, image_size: int | None, say: Callable[[str], None]) -> Network:
    """One of our own for ten classes, as nothing else is known."""
    if pretrained:
        raise UsageError(f"--weights pretrained is for torchvision and timm; {name} is trained by convscope run")
    size = image_size or 32
    model = look_up(MODELS, name, kind="model").load()(class_count=10)
    say(f"{name} stands alone: ten classes, images with mean 0.5 and deviation 0.25; a run knows its own")
    return Network(model, (0.5,) * 3, (0.25,) * 3, (size, size), tuple(str(index) for index in range(10)), name)


def _torchvision(name: str, pretrained: bool, image_size: int | None, say: Callable[[str], None]) -> Network:
    """One of torchvision's classifiers, with the numbers of its default weights."""
    models = _package("torchvision", "models")
    inner = name.partition(":")[2]
    known = models.list_models(module=models)
    if inner not in known:
        raise UsageError(f'no network "{inner}" in torchvision{closest(inner, known)}')
    default = models.get_model_weights(inner).DEFAULT
    model: nn.Module = models.get_model(inner, weights=default if pretrained else None, **_quiet(inner))
    transforms = default.transforms()
    size = image_size or transforms.crop_size[0]
    return Network(
        model=model,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        input_size=(size, size),
        class_names=tuple(default.meta["categories"]),
        name=name,
    )


def _quiet(inner: str) -> dict[str, Any]:
    """The two networks of torchvision that warn of their slow initialization are told which one is meant."""
    return {"init_weights": True} if inner in ("googlenet", "inception_v3") else {}


def _timm(name: str, pretrained: bool, image_size: int | None, say: Callable[[str], None]) -> Network:
    """One of timm's classifiers, with the numbers of its configuration."""
    timm = _package("timm")
    inner = name.partition(":")[2]
    if not timm.is_model(inner):
        raise UsageError(f'no network "{inner}" in timm{closest(inner, timm.list_models())}')
    model: nn.Module = timm.create_model(inner, pretrained=pretrained)
    config = timm.data.resolve_model_data_config(model)
    height, width = (image_size, image_size) if image_size else config["input_size"][1:]
    return Network(
        model=model,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        input_size=(height, width),
        class_names=tuple(str(index) for index in range(getattr(model, "num_classes", 0))),
        name=name,
    )


def _factory(name: str, pretrained: bool, image_size: int | None, say: Callable[[str], None]) -> Network:
    """What an importable function gives; the current folder is looked into as well, as Python itself would."""
    module_name, _, inner = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(f'no network "{name}": {error}; allowed: {FORMS}') from error
    finally:
        sys.path.remove(here)
    factory = getattr(module, inner, None)
    if not callable(factory):
        raise UsageError(f'no function "{inner}" in {module_name}{closest(inner, vars(module))}')
    try:
        made = factory()
    except Exception as error:
        raise UsageError(f"{name}() failed: {type(error).__name__}: {error}; --debug shows where") from error
    if pretrained:
        raise UsageError(f"--weights pretrained is for torchvision and timm; let {name} load its own")
    if isinstance(made, Network):
        return made
    if not isinstance(made, nn.Module):
        raise UsageError(f"{name} gives a {type(made).__name__}; allowed: a torch.nn.Module or a convscope.Network")
    if image_size is None:
        raise UsageError(f"{name} does not say what it is fed: name --input-size, or let it give a convscope.Network")
    say(f"{name} is fed images with mean 0.5 and deviation 0.25; let it give a convscope.Network for others")
    return Network(made, (0.5,) * 3, (0.25,) * 3, (image_size, image_size), (), name)


def _package(name: str, submodule: str = "") -> Any:
    """The package, which convscope does not bring along."""
    try:
        module = import_module(name)
        return import_module(f"{name}.{submodule}") if submodule else module
    except ModuleNotFoundError as error:
        raise UsageError(f"{name}:NAME needs {name}: pip install 'convscope[zoo]'") from error
