"""What the report shows of the inside of a network: a section for each method, on the same layers and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from convscope.errors import CheckpointError, UsageError
from convscope.methods.attribute import attribute
from convscope.methods.depths import depths, end_layers, middle_layer
from convscope.methods.dream import dream
from convscope.methods.feature_maps import feature_maps
from convscope.methods.filters import filters
from convscope.methods.invert import invert_layers
from convscope.methods.maximize import maximize
from convscope.methods.maximize_all import drawn_picture, maximize_within
from convscope.methods.reconstruct import reconstruct
from convscope.methods.survey_store import stored_survey
from convscope.methods.top_images import top_images
from convscope.models.weights import head_name
from convscope.report.all_channels import from_all_channels
from convscope.types import Dataset, Network, Picture, Progress

FROM_INSIDE = 2  # images of which each method draws pictures
ROWS = 8  # channels of each layer whose strongest images are shown
MAPS = 64  # channels reconstructed one by one
ASCENT_STEPS = 64
INVERSION_STEPS = 300
SAMPLES = 50  # of attributions that average


class Shown(NamedTuple):
    """A test image that the report looks at, and its number there."""

    number: int
    image: Tensor  # (3, H, W) float32 in [0, 1]


class Section(NamedTuple):
    """One method's part of the report."""

    heading: str
    about: str
    pictures: list[Picture]
    beside_image: bool = False  # whether each stands beside the image that it is of


def sections(
    network: Network, dataset: Dataset, shown: Sequence[Shown], *, store: Path, budget: float, progress: Progress
) -> Iterator[Section]:
    """Each method's section, drawn when it is asked for; `store` keeps what looking through the dataset gave.

    A `budget` in seconds draws the patterns of all channels of all depths, not only of a few of the first and last.

    A method that is not defined for the network, such as a deconvnet without ReLUs, gives a section that says so.
    """
    first, last = end_layers(network)
    stages = depths(network)
    heads = [head] if (head := _head(network)) else []
    ends = [first, last]
    surveyed = stored_survey(network, dataset, [*ends, *heads], store=store, progress=progress)  # one pass for all
    rows = {layer: range(min(ROWS, len(found.maxima))) for layer, found in zip(ends, surveyed.values(), strict=False)}

    def each(draw: Callable[[Tensor], Picture]) -> Iterator[Picture]:
        for one in shown[:FROM_INSIDE]:
            picture = draw(one.image)
            yield replace(picture, name=f"{picture.name}-image-{one.number}")

    yield _section(
        "The filters of the first layer",
        "The weights themselves. Nothing here depends on an image.",
        lambda: [filters(network)],
    )
    yield _section(
        "Feature maps",
        "What the first convolution and the last stage give for the images.",
        lambda: [
            *each(lambda x: feature_maps(network, first, x)),
            *each(lambda x: feature_maps(network, last, x)),
        ],
        beside_image=True,
    )
    yield _section(
        "The patterns that channels answer to",
        "Images made by gradient ascent from noise. The number under a tile is the activation reached over the "
        "highest that the dataset gives.",
        lambda: [
            *(_all_patterns(network, dataset, stages, store, budget, progress) if budget else ()),
            *(
                maximize(network, layer, None, dataset, steps=ASCENT_STEPS, store=store, progress=progress)
                for layer in (() if budget else ends)
            ),
            *(
                maximize(network, head, "all", dataset, steps=ASCENT_STEPS, store=store, progress=progress)
                for head in heads
            ),
        ],
    )
    yield _section(
        "The images that excite them most",
        "From the training images, cut to what the unit can see; below each what it saw of it, by guided backprop, "
        "since a deconvnet follows an image only through the switches of max pooling.",
        lambda: [
            top_images(network, layer, rows[layer], dataset, reconstructions=True, store=store, progress=progress)
            for layer in ends
        ],
    )
    yield _section(
        "Reconstructions from activations",
        "What of an image goes into a layer's channels, taken back to its pixels by the deconvnet rule.",
        lambda: [
            from_all_channels(network, stages, [one.image for one in shown]),
            *each(lambda x: reconstruct(network, first, x, "all")),
            *[
                replace(picture, name=f"{picture.name}-image-{shown[0].number}")
                for picture in (reconstruct(network, stage, shown[0].image) for stage in stages[1:-1])
            ],
            *each(lambda x: reconstruct(network, last, x, channels=MAPS)),
            *each(lambda x: reconstruct(network, last, x, channels=7, rule="guided", control=True)),
        ],
    )
    yield _section(
        "What each depth still knows",
        "Images made so that a layer's features match those of the original.",
        lambda: [
            *each(lambda x: invert_layers(network, stages, x, dataset, steps=INVERSION_STEPS, progress=progress))
        ],
    )
    yield _section(
        "What speaks for the class",
        "Nine ways to ask which pixels the network's answer rests on. They do not agree, and none is the truth.",
        lambda: [*each(lambda x: attribute(network, x, control=True, samples=SAMPLES, progress=progress))],
    )
    yield _section(
        "A dream",
        "The first image, changed so that the middle of the network answers more strongly.",
        lambda: [dream(network, middle_layer(network), shown[0].image, progress=progress)],
    )


def _all_patterns(
    network: Network, dataset: Dataset, stages: Sequence[str], store: Path, budget: float, progress: Progress
) -> list[Picture]:
    """What the channels of every depth answer to, drawn for as long as the budget says."""
    drawn = maximize_within(network, store, dataset, budget=budget, layers=stages, progress=progress)
    return [
        drawn_picture(network, store, depth, None, dataset)
        for depth, steps in zip(stages, drawn.values(), strict=True)
        if any(steps)
    ]


def _head(network: Network) -> str | None:
    """The layer that gives the classes' scores, if it is a linear one."""
    try:
        return head_name(network.model)
    except CheckpointError:
        return None


def _section(heading: str, about: str, draw: Callable[[], list[Picture]], *, beside_image: bool = False) -> Section:
    """The section, or why there is none."""
    try:
        return Section(heading, about, draw(), beside_image)
    except UsageError as error:
        return Section(heading, f"{about} Not drawn: {error}.", [])
