"""Classifiers of torchvision and timm, built by their own functions and fed as their own metadata say."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from torch import nn

from convscope.errors import DataError, UsageError, closest, in_one_line
from convscope.models.feed import Feed, package


def torchvision_feed(name: str) -> Feed:
    """What the transforms and the meta of torchvision's default weights say. Raises UsageError."""
    weights = _torchvision(name).get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    size: int = transforms.crop_size[0]
    return Feed(tuple(transforms.mean), tuple(transforms.std), (size, size), tuple(weights.meta["categories"]))


def torchvision_model(name: str, class_count: int | None, *, pretrained: bool) -> nn.Module:
    """One of torchvision's classifiers, for its own classes or so many, without the heads beside the last one.

    Raises UsageError for an unknown name, and DataError where the weights cannot be had.
    """
    models = _torchvision(name)
    options: dict[str, Any] = {} if class_count is None else {"num_classes": class_count}
    if name in ("googlenet", "inception_v3"):  # told to draw their weights, they do not warn that it is slow
        options |= {"aux_logits": False, "init_weights": True}
    if not pretrained:
        return models.get_model(name, weights=None, **options)
    with loading_told(f"torchvision:{name}"):
        return models.get_model(name, weights=models.get_model_weights(name).DEFAULT, **options)


def timm_feed(name: str) -> Feed:
    """What the configuration of timm's pretrained weights says. Raises UsageError."""
    timm = _timm(name)
    known = timm.models.get_pretrained_cfg(name)
    config: dict[str, Any] = known.to_dict() if known else {"architecture": name}
    data = timm.data.resolve_data_config(pretrained_cfg=config)
    _, height, width = data["input_size"]
    return Feed(tuple(data["mean"]), tuple(data["std"]), (height, width), _timm_classes(timm, config))


def _timm_classes(timm: Any, config: dict[str, Any]) -> tuple[str, ...] | None:
    """The classes that a configuration is for: named in it, or ImageNet's, which timm tells by their number."""
    names, described = config.get("label_names"), config.get("label_descriptions") or {}
    if names:
        return tuple(str(described.get(name, name)) for name in names)
    subset = timm.data.infer_imagenet_subset(config)
    return tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else None


def timm_model(name: str, class_count: int | None, *, pretrained: bool) -> nn.Module:
    """One of timm's classifiers, for its own classes or so many. Raises what `torchvision_model` raises."""
    timm = _timm(name)
    options = {} if class_count is None else {"num_classes": class_count}
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    timm.models.set_pretrained_check_hash(True)
    with loading_told(f"timm:{name}"):
        return timm.create_model(name, pretrained=True, **options)


@contextmanager
def loading_told(name: str) -> Generator[None]:
    """Within it a library loads its weights: what it prints is no result, and whatever goes wrong is a DataError."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # each library has errors of its own
        raise DataError(
            f"the weights of {name} cannot be had: {in_one_line(error)}; allowed also: --weights FILE"
        ) from error


def _torchvision(name: str) -> Any:
    """torchvision.models. Raises UsageError where it is missing, or has no such classifier."""
    package("torchvision", "torchvision:NAME", extra="zoo")
    models = package("torchvision.models", "torchvision:NAME", extra="zoo")
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(f'no network "{name}" in torchvision{closest(name, known)}')
    return models


def _timm(name: str) -> Any:
    """The package timm. Raises UsageError where it is missing, or has no such network."""
    timm = package("timm", "timm:NAME", extra="zoo")
    if not timm.is_model(name):
        raise UsageError(f'no network "{name}" in timm{closest(name, timm.list_models())}')
    return timm
