"""Which pixels of an image speak for a class: one attribution method, or all of them beside the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from convscope.errors import NumericsError, UsageError, closest
from convscope.hooks import frozen_eval, like_model, resolve_layer
from convscope.methods.attributions import HOWS, SIGNED, WITH_LAYER, Asked, How, attributions, grad_cam_layer, heat
from convscope.methods.evidence import randomized, similarity, with_control
from convscope.methods.needs import as_rgb, check_at_least, check_logits, choose_class, class_name, one_image
from convscope.methods.overlay import coloured, over_image
from convscope.methods.removals.deletion import without_top
from convscope.types import Network, Picture, Progress, no_progress

SHORT: dict[How, str] = {"input-x-gradient": "input×gradient", "integrated-gradients": "integrated"}


def attribute(
    network: Network,
    image: Tensor,
    layer: str | None = None,
    *,
    how: How | Literal["all"] = "all",
    target: int | str | None = None,
    overlay: bool = False,
    control: bool = False,
    samples: int = 50,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Picture:
    """Which pixels of an image speak for a class, by one of nine methods, or by all of them beside the image.

    `image` is (C, H, W) float in [0, 1]. What is attributed is the class's logit, to what the model is fed, whose
    zero is the dataset's mean colour; `attributions.HOWS` says what each method shows. One method's values are its
    map (1, 1, H, W): signed ones (input-x-gradient, integrated-gradients, occlusion) red for the class and blue
    against it, the others from black to bright. All of them, and overlays, are colours, the image first. The colours
    of a map end at the 99th percentile of its sizes. What is not defined for a network is left out of "all", and
    numbers["left_out"] says why. `layer` is the one that Grad-CAM reads, by default the last one whose maps have
    positions enough (see `attributions.grad_cam_layer`). Ctrl-C keeps the maps that are done.

    Raises UsageError for an unknown method, class or layer, an image of another shape or range, a model that gives
    no logits, and one method that is not defined for the network; NumericsError for values that are not finite.

    Parameters
    ----------
    how
        all, saliency, input-x-gradient, smoothgrad, integrated-gradients, occlusion, grad-cam, guided-grad-cam,
        guided or deconvnet.
    target
        The class, by name or number; by default the predicted one.
    overlay
        Colour each map over the grey image.
    control
        Add the same from random weights below.
    samples
        Noisy copies for smoothgrad, and steps for integrated-gradients.
    seed
        Draws the noise, and the random weights of the control.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (16, 16), ("cat", "dog"), "tiny")
    >>> picture = attribute(network, torch.rand(3, 16, 16), how="saliency", target="dog")
    >>> picture.values.shape, picture.numbers["target"]
    ((1, 1, 16, 16), 'dog')
    """
    if how != "all" and how not in HOWS:
        raise UsageError(f'no method "{how}"{closest(how, HOWS)}; allowed: all, {", ".join(HOWS)}')
    if layer is not None and how not in ("all", *WITH_LAYER):
        raise UsageError(f'layer "{layer}" with {how}; allowed: a layer with {", ".join(WITH_LAYER)} or all')
    check_at_least(1, samples=samples)
    check_at_least(0, seed=seed)
    name = None if layer is None else resolve_layer(network.model, layer, model_name=network.name)
    images = one_image(network, image)
    logits = _logits(network, images)
    index = choose_class(network, target, len(logits)) if target is not None else int(logits.argmax())
    if name is None and how in ("all", *WITH_LAYER):
        with frozen_eval(network.model) as model, torch.no_grad():
            name = grad_cam_layer(model, network.normalize(like_model(model, images)))
    asked = Asked(index, name, samples, seed)
    hows: list[How] = [*HOWS] if how == "all" else [how]
    maps, left_out = _maps(network, images, asked, hows, progress)
    if not maps:
        raise KeyboardInterrupt
    numbers = {
        "target": class_name(network, index),
        "target_index": index,
        "probability": logits.softmax(0)[index].item(),
        "logit": logits[index].item(),
        "predicted": class_name(network, int(logits.argmax())),
        **({} if maps.keys().isdisjoint(WITH_LAYER) else {"layer": name}),
        **_evidence(network, images, asked, maps),
        **({"left_out": left_out} if left_out else {}),
        **({"interrupted": True} if len(maps) + len(left_out) < len(hows) else {}),
    }
    tiles = [numbers["target"], *(SHORT.get(each, each) for each in maps)]
    logit = f"{numbers['logit']:.1f}"
    captions = [f"{tile}\n{line}" for tile, line in zip(tiles, [logit, *_falls(numbers)], strict=True)]
    picture = _picture(network, images, maps, numbers, captions, overlay=overlay, beside=how == "all")
    if not control or "interrupted" in numbers:
        return picture
    others, _ = _maps(randomized(network, seed=seed), images, asked, [*maps], progress)
    if len(others) < len(maps):
        return replace(picture, numbers={**numbers, "interrupted": True})
    captions = [f"{tile}\n" for tile in tiles]
    return with_control(
        picture,
        _picture(network, images, others, numbers, captions, overlay=overlay, beside=how == "all"),
        originals=len(picture.values) - len(maps),
        alike=similarity(np.concatenate([*maps.values()]), np.concatenate([*others.values()])),
    )


def _logits(network: Network, images: Float[Tensor, "1 C H W"]) -> Float[Tensor, " K"]:
    """The logits for the image, in main memory."""
    with frozen_eval(network.model) as model, torch.no_grad():
        logits = model(network.normalize(like_model(model, images)))
    return check_logits(network, logits)[0].cpu()


def _maps(
    network: Network, images: Float[Tensor, "1 C H W"], asked: Asked, hows: list[How], progress: Progress
) -> tuple[dict[How, np.ndarray], list[str]]:
    """Each method's map (1, 1, H, W), up to Ctrl-C, and why some are not defined here."""
    maps: dict[How, np.ndarray] = {}
    left_out: list[str] = []
    with frozen_eval(network.model) as model, torch.enable_grad(), suppress(KeyboardInterrupt):
        inputs = network.normalize(like_model(model, images))
        for done, how in enumerate(hows):
            progress("attribute", done, len(hows))
            try:
                attribution = attributions(how, model, inputs, asked)
            except UsageError as error:
                if len(hows) == 1:
                    raise
                left_out.append(f"{how}: {error}")
                continue
            if not bool(torch.isfinite(attribution).all()):
                raise NumericsError(f"{how} gives values that are not finite for {network.name}")
            maps[how] = heat(how, attribution).float().cpu().numpy()
    return maps, left_out


def _evidence(
    network: Network, images: Float[Tensor, "1 C H W"], asked: Asked, maps: dict[How, np.ndarray]
) -> dict[str, Any]:
    """Whether the pixels that the maps point at mattered, and whether integrated gradients are complete."""
    numbers: dict[str, Any] = {"methods": [*maps]}
    with frozen_eval(network.model) as model, torch.no_grad():
        inputs = network.normalize(like_model(model, images))
        top, elsewhere = without_top(model, inputs, asked.target, [*maps.values()], seed=asked.seed)
        if (shares := maps.get("integrated-gradients")) is not None:
            logit, start = (model(each)[0, asked.target].item() for each in (inputs, torch.zeros_like(inputs)))
            numbers |= {"rise_since_mean": logit - start, "completeness_gap": float(shares.sum()) - (logit - start)}
    blank = [how for how, values in maps.items() if not values.any()]
    return {**numbers, "logit_without_top": top, "logit_without_elsewhere": elsewhere, "blank": blank}


def _falls(numbers: Mapping[str, Any]) -> list[str]:
    """For each map the logit without its top pixels and, in brackets, without others."""
    both = zip(numbers["logit_without_top"], numbers["logit_without_elsewhere"], strict=True)
    return [f"{top:.1f} ({elsewhere:.1f})" for top, elsewhere in both]


def _picture(
    network: Network,
    images: Float[Tensor, "1 C H W"],
    maps: dict[How, np.ndarray],
    numbers: Mapping[str, Any],
    captions: list[str],
    *,
    overlay: bool,
    beside: bool,
) -> Picture:
    """The picture of the maps: one alone as its values, several or overlays as colours after the image.

    `captions` are those of the image and of each map.
    """
    name, target, layer = "all" if beside else next(iter(maps)), numbers["target"], numbers.get("layer")
    limits = {how: _limits(how, values) for how, values in maps.items()}
    if beside or overlay:
        tiles = [
            over_image(values, limits[how], _scale(how), images)
            if overlay
            else coloured(values, limits[how], _scale(how))
            for how, values in maps.items()
        ]
        tiles = [as_rgb(images), *tiles]
        bounds = np.tile(np.array([0, 1], dtype=np.float32), (len(tiles), 1))
    else:
        tiles, bounds = [*maps.values()], np.concatenate([*limits.values()])
    return Picture(
        name=f"attribute-{name}-{numbers['target_index']}",
        title=f"What speaks for {target}" + (f", with Grad-CAM of {layer}" if layer else ""),
        values=np.concatenate(tiles).astype(np.float32),
        limits=bounds,
        scale="rgb" if beside or overlay else _scale(next(iter(maps))),
        captions=tuple(captions[-len(tiles) :]),
        caption=_reading([*maps], numbers, beside),
        numbers=numbers,
        provenance={
            "Method": "attribute",
            "Network": network.name,
            **({"Layer": layer} if layer else {}),
            "How": name,
            "Target": target,
        },
    )


def _scale(how: How) -> Literal["diverging", "sequential"]:
    """How a method's map is coloured."""
    return "diverging" if how in SIGNED else "sequential"


def _limits(how: How, values: np.ndarray) -> np.ndarray:
    """Where a map's colours begin and end (1, 2): at the 99th percentile of its sizes, or at the largest."""
    sizes = np.abs(values)
    bound = float(np.quantile(sizes, 0.99)) or float(sizes.max())
    return np.array([[-bound if how in SIGNED else 0.0, bound]], dtype=np.float32)


def _reading(hows: Sequence[How], numbers: Mapping[str, Any], beside: bool) -> str:
    """How to read the picture, and what not to conclude."""
    signs = {how in SIGNED for how in hows}
    texts = [
        "First the image, then each method's answer to the same question."
        if beside
        else f"The map is {hows[0]}: {HOWS[hows[0]]}.",
        "Red speaks for the class, blue against it." if True in signs else "",
        "Bright pixels matter most, whether for the class or against it." if False in signs else "",
        "Below a map stands the logit without its highest fifth of pixels and, in brackets, without pixels of the "
        "same shape elsewhere: the further the first is below the second, the more the map found.",
    ]
    if "completeness_gap" in numbers:
        rise, gap = numbers["rise_since_mean"], numbers["completeness_gap"]
        texts.append(
            f"Integrated gradients sum to {rise + gap:.2f}, the logit's rise since the mean colour is {rise:.2f}."
        )
    if blank := ", ".join(numbers["blank"]):
        texts.append(f"Nothing in the image speaks for the class by {blank}.")
    texts.append(
        "A map says where, not why; where methods disagree, or random weights give the same (control), it is no "
        "evidence."
    )
    return " ".join(filter(None, texts))
