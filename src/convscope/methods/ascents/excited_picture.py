"""Images that excite channels as a picture: labels, evidence, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from convscope.methods.ascents.excite import Excited
from convscope.methods.ascents.yardstick import Yardstick
from convscope.methods.needs import as_rgb, slug
from convscope.paint import image_picture
from convscope.types import Network, Picture


def excited_picture(
    network: Network,
    layer: str,
    excited: Excited,
    owners: Sequence[int],
    yardstick: Yardstick | None,
    *,
    called: str,
    suffix: str = "",
    aim: Literal["channel", "position", "direction"] = "channel",
    steps: Sequence[int] = (),
    variants: int = 1,
    provenance: Mapping[str, str],
) -> Picture:
    """The picture of images whose channels are `owners`, each after its frames at all `steps` but the last.

    `layer` is a dotted name, `called` what the reader calls it, `suffix` the end of the file's name. With the aim
    "direction" there are no channels, and the yardstick's only one is the direction's.
    """
    directed = aim == "direction"
    numbers = _numbers(excited, owners, yardstick, directed=directed)
    labels = _labels(
        ["direction"] * len(owners) if directed else channel_names(network, layer, owners), owners, numbers
    )
    frames = [excited.frames[step] for step in steps[:-1]]
    columns = variants * (len(frames) + 1)
    before = [f"step {step}" for step in steps[:-1]]
    what = {"channel": "channels", "position": "the centre of channels", "direction": "a direction"}[aim]
    picture = image_picture(
        f"maximize-{slug(called + suffix)}",
        f"What excites {what} of {called} most",
        as_rgb(torch.stack([*frames, excited.images], dim=1).flatten(0, 1)),
        captions=[text for label in labels for text in (*before, label)],
        caption=_reading(aim, numbers, yardstick, variants=variants, film=bool(frames)),
        provenance={"Method": "maximize", "Network": network.name, "Layer": layer, **provenance},
        columns=columns if columns > 1 else None,
    )
    return replace(picture, numbers=numbers)


def _numbers(
    excited: Excited, owners: Sequence[int], yardstick: Yardstick | None, *, directed: bool
) -> dict[str, Any]:
    """The evidence, tile by tile."""
    activations = excited.activations.tolist()
    maxima = [None] * len(owners) if yardstick is None else yardstick.maxima[list(owners)].tolist()
    dead = excited.still if yardstick is None else excited.still | yardstick.dead[list(owners)]
    numbers: dict[str, Any] = {
        "channels": None if directed else list(owners),
        "activation": activations,
        "dataset_maximum": maxima,
        "ratio": [
            reached / highest if highest is not None and highest > 0 else None
            for reached, highest in zip(activations, maxima, strict=True)
        ],
        "objective": excited.scores.tolist(),
        "objective_at_start": excited.start_scores.tolist(),
        "objective_dataset_mean": None if yardstick is None else yardstick.means[list(owners)].tolist(),
        "dead_channels": list(
            dict.fromkeys(index for index, is_dead in zip(owners, dead.tolist(), strict=True) if is_dead)
        ),
    }
    if excited.agreements is not None:
        numbers["agreement"] = excited.agreements.tolist()
    if excited.likenesses is not None:
        numbers["likeness"] = excited.likenesses.tolist()
    if excited.interrupted:
        numbers["interrupted"] = True
    return numbers


def channel_names(network: Network, layer: str, channels: Sequence[int]) -> list[str]:
    """What each channel of a layer is called: its class in the head, else its number."""
    module = network.model.get_submodule(layer)
    is_head = isinstance(module, nn.Linear) and module.out_features == len(network.class_names)
    return [network.class_names[index] if is_head else str(index) for index in channels]


def _labels(called: Sequence[str], owners: Sequence[int], numbers: dict[str, Any]) -> list[str]:
    """Each tile's channel and what it reached; below, how far two starts agree."""
    labels: list[str] = []
    for tile, name in enumerate(called):
        ratio = numbers["ratio"][tile]
        reached = f"{numbers['activation'][tile]:.3g}" if ratio is None else f"{ratio:.1f}×"
        agreed = f"\nseeds {numbers['agreement'][tile]:.2f}" if "agreement" in numbers else ""
        labels.append(f"{name}: dead" if owners[tile] in numbers["dead_channels"] else f"{name}: {reached}{agreed}")
    return labels


def _reading(aim: str, numbers: dict[str, Any], yardstick: Yardstick | None, *, variants: int, film: bool) -> str:
    """How to read the picture, and what not to conclude."""
    goal = {
        "channel": "one channel everywhere",
        "position": "one channel at its centre",
        "direction": "one sum of channels everywhere",
    }[aim]
    texts = [f"Each tile was drawn by gradient ascent, from noise, to excite {goal}."]
    if film:
        texts.append("A row shows the ascent from its start to its end.")
    if variants > 1:
        texts.append("Variants of a channel were kept unlike each other: what they share is what it answers to.")
    if yardstick is None:
        texts.append("The number is the activation reached; no dataset says whether that is much.")
    else:
        texts.append(
            f"1.0× is the highest activation that {yardstick.images} training images give; far more than that is "
            "an image unlike any of them."
        )
    if "agreement" in numbers:
        texts.append(
            "Seeds tells how alike two random starts end for the layer; different channels often reach 0.5, so only "
            "near 1 is the picture the channel's rather than the start's."
        )
    if numbers["dead_channels"]:
        texts.append(
            "Dead says that the ascent did not move the channel"
            + ("" if yardstick is None else f" or that none of those {yardstick.images} images gets through its ReLU")
            + "; another image may still excite it, so the tile says little."
        )
    texts.append("The tile is what excites the channel most, not all that it answers to: look at its top images too.")
    return " ".join(texts)
