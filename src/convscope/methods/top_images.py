"""The images of a dataset that excite each channel of a layer most, cut to what the channel sees of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import frozen_eval, resolve_layer
from convscope.methods.needs import Channels, as_rgb, batch_limit, choose_channels, layer_maps, signed_limits, slug
from convscope.methods.patches import cut, longest
from convscope.methods.projection import met_relus, project
from convscope.methods.receptive_field import receptive_field
from convscope.methods.surveys.survey import Half, check_images, half_of
from convscope.methods.surveys.survey_store import stored_survey
from convscope.methods.surveys.tally import LayerSurvey
from convscope.paint import PAPER
from convscope.ranks import ALONE, Ranks
from convscope.relu_rules import RULES, Rule
from convscope.types import Dataset, Network, Picture, Progress, no_progress

SELECTIVE = 0.5  # selectivity from which a channel is called so: one class excites it three times as much as others
TWIN = 0.98  # correlation from which a channel is called the duplicate of another


def top_images(
    network: Network,
    layer: str,
    channel: Channels = None,
    dataset: Dataset | None = None,
    *,
    count: int = 9,
    crop: bool = True,
    reconstructions: bool = False,
    rule: Rule = "guided",
    split: Half = "train",
    store: Path | None = None,
    progress: Progress = no_progress,
    ranks: Ranks = ALONE,
) -> Picture:
    """The images and positions of a dataset that excite each channel most: a row of tiles for each channel.

    The values are the images, (tiles, 3, h, w) in [0, 1], the strongest first, from one pass over the whole split
    without augmentation; by default of the layer's first 16 channels. Each is cut to the pixels that the unit at
    its strongest position can see, and padded where these reach beyond the image. With `reconstructions`, as in
    figure 2 of Zeiler & Fergus 2014 (arXiv:1311.2901), each row is followed by one of projections of that
    position alone by the rule of `reconstruct`, cut alike, with zero mid grey. The figure's own rule is "deconvnet",
    which follows the image only through the switches of max pooling; networks that stride instead need "guided"
    (Springenberg et al. 2015, arXiv:1412.6806, section 3.4).

    Ctrl-C among the projections leaves the channels whose row is whole; before the first is, and during the pass
    over the split, it is passed on.

    Raises UsageError without a dataset, for an unknown layer, channel, rule or split, a count below 1, and, with
    `reconstructions`, a network without ReLUs; NumericsError for values that are not finite. Selectivity is that
    of Morcos et al. 2018 (arXiv:1803.06959), section 2.2, of what is above zero.

    Parameters
    ----------
    count
        How many images are shown of each channel.
    crop
        Cut each image to what the unit sees of it.
    reconstructions
        Add below each image its strongest position, projected back to its pixels.
    rule
        What a ReLU does to the projected signal: deconvnet, guided or gradient.
    split
        The half of the dataset that is searched: train or test.
    store
        A folder in which the survey of the dataset is kept and looked for.
    ranks
        The processes that share the images; each gets the whole picture.

    >>> from torch import nn
    >>> from convscope.data import load_dataset
    >>> model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 4, 3))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny")
    >>> top_images(network, "2", [0, 3], load_dataset("digits"), count=5).values.shape
    (10, 3, 5, 5)
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    if dataset is None:
        raise UsageError("top images are searched for in a dataset, and none was given; name one, such as digits")
    if rule not in RULES:
        raise UsageError(f'no rule "{rule}"; allowed: {", ".join(RULES)}')
    half = half_of(dataset, split)
    check_images(network, half)
    first = next(iter(half.images.batches([torch.zeros(1, dtype=torch.int64)]))).float() / 255
    with frozen_eval(network.model), torch.no_grad():  # what is wrong is said before the long search
        available = layer_maps(network, name, first).shape[1]
    chosen = choose_channels(channel, available, layer=layer, most=16, class_names=network.class_names)
    if reconstructions:
        met_relus(network, name, first, rule)
    found = stored_survey(
        network, dataset, [name], store=store, count=count, split=split, progress=progress, ranks=ranks
    )[name]
    columns = found.images.shape[1]
    wanted, places = np.unique(found.images[chosen], return_inverse=True)
    distinct = next(iter(half.images.batches([torch.from_numpy(wanted)]))).float() / 255
    images = distinct[torch.from_numpy(places.ravel())]  # (channels * columns, C, H, W)
    back = _projected(network, name, images, found, chosen, rule, progress) if reconstructions else images
    interrupted = len(back) < len(images)
    images, chosen = images[: len(back)], chosen[: len(back) // columns]
    field = receptive_field(network, name, half.images.shape[2:])
    spots = torch.from_numpy(found.positions[chosen]).flatten(0, 1)
    boxes = (field.rows[spots[:, 0]], field.columns[spots[:, 1]]) if crop else None
    size = longest(field.rows), longest(field.columns)
    labels = half.labels.numpy()[found.images[chosen]]
    values, limits = _strip(images, boxes, size, signed=False)
    classes, heights, names = _captions(found, chosen, labels, dataset.class_names)
    if reconstructions:
        below, its_limits = _strip(back, boxes, size, signed=True)
        values, limits = _by_turns(values, below, columns), _by_turns(limits, its_limits, columns)
        captions = _by_turns(_lines(classes, names), heights, columns).tolist()
    else:
        captions = _lines(classes, heights, names).tolist()
    return Picture(
        name=f"top-images-{slug(layer, channel)}",
        title=f"What excites {layer} most, of {len(half.labels):,} images of {dataset.name}",
        values=values,
        limits=limits,
        scale="rgb",
        captions=tuple(captions),
        caption=_reading(size, half.images.shape, split, rule if reconstructions else None, crop),
        numbers={
            **_numbers(found, chosen, labels, dataset.class_names, size),
            **({"interrupted": True} if interrupted else {}),
        },
        provenance={
            "Method": "top-images",
            "Network": network.name,
            "Layer": name,
            "Dataset": f"{dataset.name}, {split}",
        },
        columns=columns,
    )


def _projected(
    network: Network,
    layer: str,
    images: Float[Tensor, "N C H W"],
    found: LayerSurvey,
    chosen: list[int],
    rule: Rule,
    progress: Progress,
) -> Float[Tensor, "done C H W"]:
    """Each image's strongest position alone, projected back to its pixels; after Ctrl-C, those of whole rows."""
    columns = found.values.shape[1]
    channels = torch.tensor(chosen).repeat_interleave(columns)
    rows, places = torch.from_numpy(found.positions[chosen]).flatten(0, 1).unbind(1)
    signs = torch.from_numpy(found.values[chosen]).flatten().sign()  # its size is not shown
    signs = signs if rule == "gradient" else signs.clamp(min=0)  # as in `reconstruct`
    parts: list[Tensor] = []
    step = batch_limit(images.shape[-2:])
    try:
        for part in torch.arange(len(images)).split(step):
            progress("reconstructions", int(part[0]), len(images))
            signals = torch.zeros(len(part), len(found.values), *found.map_size.tolist())
            signals[torch.arange(len(part)), channels[part], rows[part], places[part]] = signs[part]
            parts.append(project(network, layer, images[part], signals, rule=rule))
    except KeyboardInterrupt:
        if step * len(parts) < columns:
            raise
    done = sum(len(part) for part in parts)
    return torch.cat(parts)[: done - done % columns]


def _strip(
    images: Float[Tensor, "N C H W"],
    boxes: tuple[Tensor, Tensor] | None,
    size: tuple[int, int],
    *,
    signed: bool,
) -> tuple[Float[np.ndarray, "N 3 h w"], Float[np.ndarray, "N 2"]]:
    """Tiles cut from the images and their limits; signed ones have each a scale of its own around zero."""
    colours = torch.from_numpy(as_rgb(images))
    blank = torch.zeros(len(colours), 3)
    limits = np.tile(np.array([0, 1], dtype=np.float32), (len(colours), 1))
    if signed:
        limits = signed_limits((cut(colours, *boxes, size, fill=blank) if boxes else colours).numpy())
    if boxes is None:
        return colours.numpy(), limits
    low, high = torch.from_numpy(limits).unbind(1)
    paper = low[:, None] + (high - low)[:, None] * torch.tensor(PAPER) / 255  # as if there were no tile
    return cut(colours, *boxes, size, fill=paper).numpy(), limits


def _by_turns(first: np.ndarray, second: np.ndarray, columns: int) -> np.ndarray:
    """A row of `columns` of the first, then one of the second, and so on."""
    rows = [part.reshape(-1, columns, *part.shape[1:]) for part in (first, second)]
    return np.stack(rows, axis=1).reshape(-1, *first.shape[1:])


def _lines(*parts: np.ndarray) -> np.ndarray:
    """The parts of each caption, one below the other."""
    return np.array(["\n".join(lines) for lines in zip(*parts, strict=True)])


def _captions(
    found: LayerSurvey, chosen: list[int], labels: NDArray[np.int64], class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each tile its class, its value, and, at the first of a row, the channel with what is special about it."""
    classes = [class_names[label] for label in labels.ravel().tolist()]
    values = [f"{value:.3g}" for value in found.values[chosen].ravel().tolist()]
    columns = labels.shape[1]
    names = [line for index in chosen for line in (_badge(found, index, class_names), *[""] * (columns - 1))]
    return np.array(classes), np.array(values), np.array(names)


def _badge(found: LayerSurvey, index: int, class_names: Sequence[str]) -> str:
    """The channel's number with what is special about it, in a word."""
    if found.dead[index]:
        return f"#{index} dead"
    if found.likeness[index] > TWIN:
        return f"#{index} = #{found.twins[index]}"
    if found.selectivity[index] >= SELECTIVE:
        return f"#{index}: {class_names[found.selective_class[index]]}"
    return f"#{index}"


def _numbers(
    found: LayerSurvey,
    chosen: list[int],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    size: tuple[int, int],
) -> dict[str, Any]:
    """The evidence, a value for each of the chosen channels."""
    commonest = [Counter(row).most_common(1)[0] for row in labels.tolist()]
    twins = [int(found.twins[index]) if found.likeness[index] > TWIN else None for index in chosen]
    return {
        "channels": chosen,
        "receptive_field": list(size),
        "maximum": found.maxima[chosen].tolist(),
        "mean": found.means[chosen].tolist(),
        "share_of_zeros": found.shares_of_zeros[chosen].tolist(),
        "selectivity": found.selectivity[chosen].tolist(),
        "selective_class": [class_names[index] for index in found.selective_class[chosen]],
        "dead_channels": [index for index in chosen if found.dead[index]],
        "duplicate_of": twins,
        "commonest_class": [class_names[label] for label, _ in commonest],
        "commonest_class_share": [times / labels.shape[1] for _, times in commonest],
        "images": found.images[chosen].tolist(),
        "positions": found.positions[chosen].tolist(),
        "values": found.values[chosen].tolist(),
        "histogram": found.histogram[chosen].tolist(),
        "histogram_range": found.histogram_range[chosen].tolist(),
    }


def _reading(
    size: tuple[int, int], images: tuple[int, int, int, int], split: str, rule: Rule | None, crop: bool
) -> str:
    """How to read the picture, and what not to conclude."""
    field = f"{size[0]}×{size[1]} pixels"
    sees = f" Of each image the unit at the strongest position sees {field}."
    if size == images[2:]:
        sees = " A unit of this layer sees the whole image."
    elif crop:
        sees = f" Each is cut to the {field} that the unit there sees, blank beyond the image's border."
    below = (
        f" Below each, its strongest position alone projected back by the {rule} rule: what in the image carried the "
        "signal. Mid grey is zero, and each has a scale of its own."
        if rule
        else ""
    )
    if rule == "deconvnet":
        below += " Where these are alike for all images, the network has no max pooling that would let them differ."
    return (
        f"A row for each channel: of {images[0]:,} {split} images those with its highest values, the highest first, "
        f"with class and value.{sees}{below} Below the first of a row stands the channel, with a class where its "
        'mean activity is selective for that one, "= #5" where it does what channel 5 does, and "dead" where it '
        "never changes. What a few images share is not all that a channel answers to: see its share of zeros and its "
        "histogram."
    )
