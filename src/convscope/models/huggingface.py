"""Image classifiers of Hugging Face, in a folder or by their name on the hub, through transformers' own loaders.

Weights are safetensors, and no code that lies beside them is ever run.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convscope.errors import CheckpointError, ConvscopeError, DataError, UsageError, in_one_line
from convscope.models.feed import Feed, package

SAFE = {"trust_remote_code": False}
PLAIN: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": "eager"}
"""A configuration may name others, and for attention even kernels of the hub, which are code."""

GREYS = 0, 255  # black and white; what a preprocessor makes of them tells mean and deviation
UNNAMED = "LABEL_"  # how transformers calls classes that nobody named


def huggingface_feed(place: str, *, pretrained: bool) -> Feed:
    """What the preprocessor makes of images, and the names of the configuration's classes.

    A mean and a deviation are worked out from what it makes of black and of white, so that all it does counts.
    Raises UsageError, CheckpointError and DataError like `huggingface_model`.
    """
    transformers = _transformers()
    with _loading(transformers, place, pretrained=pretrained):
        names = _config(transformers, place, pretrained=pretrained).id2label
        named = tuple(str(names[index]) for index in range(len(names)))
        class_names = None if all(name.startswith(UNNAMED) for name in named) else named
        try:
            prepare = transformers.AutoImageProcessor.from_pretrained(place, **_where(place, pretrained=pretrained))
        except OSError:  # there is none
            return Feed(class_names=class_names)
        plain = [np.full((64, 64, 3), grey, np.uint8) for grey in GREYS]
        black, white = prepare(images=plain, return_tensors="pt")["pixel_values"].double()  # (3, H, W) each
    std = 1 / (white - black).mean((1, 2))
    mean = -black.mean((1, 2)) * std
    rounded = [tuple(round(value, 6) for value in values.tolist()) for values in (mean, std)]
    return Feed(rounded[0], rounded[1], (black.shape[1], black.shape[2]), class_names)


def huggingface_model(place: str, class_count: int | None, *, pretrained: bool) -> nn.Module:
    """A classifier of transformers that gives logits (N, classes) for images (N, 3, H, W), as all networks here do.

    Its weights are its own if it is `pretrained`, which downloads what is not there, and else random. Raises
    UsageError for a place where there is no classifier, CheckpointError for a folder that cannot be read or lacks
    weights, and DataError for what cannot be downloaded.
    """
    transformers = _transformers()
    classifiers = transformers.AutoModelForImageClassification
    with _loading(transformers, place, pretrained=pretrained):
        if pretrained:
            model, report = classifiers.from_pretrained(
                place,
                use_safetensors=True,
                output_loading_info=True,
                **PLAIN,
                **_where(place, pretrained=True),
            )
            if missing := sorted(map(str, report["missing_keys"])):
                raise CheckpointError(f"the weights of {place} lack {len(missing)} entries, first {missing[0]}")
        else:
            model = _from_config(transformers, _config(transformers, place, pretrained=False), class_count)
    return _giving_logits(model)


def huggingface_config(model: nn.Module) -> dict[str, Any]:
    """The configuration of a classifier of transformers, from which it can be built again; of others nothing."""
    config: Any = getattr(model, "config", None)
    return config.to_diff_dict() if hasattr(config, "to_diff_dict") else {}


def huggingface_again(config: Mapping[str, Any], class_count: int) -> nn.Module:
    """The classifier of a configuration, with random weights. Raises CheckpointError for one that is none."""
    transformers = _transformers()
    try:
        with _silence(transformers):
            again = transformers.AutoConfig.for_model(**config)
            return _giving_logits(_from_config(transformers, again, class_count))
    except ConvscopeError:
        raise
    except Exception as error:  # a configuration may be damaged in any way
        raise CheckpointError(
            f"transformers cannot build the network that run.json describes: {in_one_line(error)}"
        ) from error


def _from_config(transformers: Any, config: Any, class_count: int | None) -> nn.Module:
    """A classifier with random weights."""
    if class_count is not None and class_count != config.num_labels:
        config.num_labels = class_count
    return transformers.AutoModelForImageClassification.from_config(config, **PLAIN, **SAFE)


def _config(transformers: Any, place: str, *, pretrained: bool) -> Any:
    return transformers.AutoConfig.from_pretrained(place, **_where(place, pretrained=pretrained))


def _where(place: str, *, pretrained: bool) -> dict[str, Any]:
    """Keywords for all of transformers' loaders: nothing is downloaded but on request, and no code is run."""
    return {"local_files_only": not pretrained or Path(place).is_dir(), **SAFE}


def _giving_logits(model: nn.Module) -> nn.Module:
    """The model itself, but that it gives its logits alone; its layers and weights keep their names."""
    model.__class__ = _logits_class(type(model))
    return model


@functools.cache
def _logits_class(kind: type[nn.Module]) -> type[nn.Module]:
    """A classifier's class, called as every network is."""

    def forward(self: nn.Module, images: Tensor) -> Tensor:
        return kind.forward(self, pixel_values=images).logits

    return type(kind.__name__, (kind,), {"forward": forward})


def _transformers() -> Any:
    return package("transformers", "huggingface:NAME", extra="huggingface")


@contextmanager
def _loading(transformers: Any, place: str, *, pretrained: bool) -> Generator[None]:
    """Within it transformers reads a place; whatever goes wrong is one line of ours."""
    try:
        with _silence(transformers):
            yield
    except ConvscopeError:
        raise
    except Exception as error:  # transformers lets nearly anything escape
        if Path(place).is_dir():
            raise CheckpointError(
                f"transformers cannot read {place}: {in_one_line(error)}; wanted: config.json and "
                "model.safetensors of an image classifier"
            ) from error
        if pretrained:
            raise DataError(f"huggingface:{place} cannot be had: {in_one_line(error)}") from error
        raise UsageError(
            f'no folder "{place}", and nothing of that name was downloaded before; --weights pretrained does'
        ) from error


@contextmanager
def _silence(transformers: Any) -> Generator[None]:
    """Within it transformers says nothing but errors, and nothing on standard output."""
    speech = transformers.utils.logging
    before, bars = speech.get_verbosity(), speech.is_progress_bar_enabled()
    speech.set_verbosity_error()
    speech.disable_progress_bar()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        speech.set_verbosity(before)
        if bars:
            speech.enable_progress_bar()
