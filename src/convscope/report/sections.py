"""What the report shows of the inside of a network: a section for each method, on the same layers and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import resolve_layer
from convscope.methods.ascents.maximize_all import drawn_picture, maximize_within
from convscope.methods.attribute import attribute
from convscope.methods.depths import depths, end_layers, head_layer, middle_layer
from convscope.methods.dream import dream
from convscope.methods.evidence import randomized, with_control
from convscope.methods.feature_maps import feature_maps
from convscope.methods.filters import filters
from convscope.methods.invert import invert_layers
from convscope.methods.maximize import maximize
from convscope.methods.needs import channel_count
from convscope.methods.reconstruct import reconstruct
from convscope.methods.surveys.survey_store import stored_survey
from convscope.methods.top_images import top_images
from convscope.report.all_channels import from_all_channels
from convscope.report.pattern_control import beside_random, with_own
from convscope.types import Dataset, Network, Picture, Progress

FROM_INSIDE = 2  # images of which each method draws pictures
ROWS = 8  # channels of each layer whose strongest images are shown
MAPS = 64  # channels reconstructed one by one
BESIDE_RANDOM = 7  # channels reconstructed by the network and by random weights
ASCENT_STEPS = 64
CLASSES = 20  # of which a picture is drawn
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
    network: Network,
    dataset: Dataset | None,
    shown: Sequence[Shown],
    *,
    store: Path,
    budget: float,
    progress: Progress,
) -> Iterator[Section]:
    """Each method's section, drawn when it is asked for; `store` keeps what looking through the dataset gave.

    A `budget` in seconds draws the patterns of all channels of all depths, not only of a few of the first and last.

    A method that is not defined for the network, such as a deconvnet without ReLUs, gives a section that says so. So
    does what needs images where there are none: without a `dataset`, or with none `shown`.
    """
    first, last = end_layers(network)
    stages = depths(network)
    heads = [head] if (head := head_layer(network)) else []
    ends = [first, last]
    if dataset:  # one pass for all
        stored_survey(network, dataset, [*ends, *heads], store=store, progress=progress)

    def each(draw: Callable[[Tensor], Picture]) -> Iterator[Picture]:
        for one in shown[:FROM_INSIDE]:
            picture = _whole(draw(one.image))
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
        lambda: _patterns(network, dataset, ends, stages, heads, store, budget, progress),
    )
    yield _section(
        "The images that excite them most",
        "From the training images, cut to what the unit can see; below each what it saw of it, by guided backprop, "
        "since a deconvnet follows an image only through the switches of max pooling.",
        lambda: [
            _whole(
                top_images(
                    network,
                    layer,
                    range(min(ROWS, channel_count(network, resolve_layer(network.model, layer)))),
                    dataset,
                    reconstructions=True,
                    store=store,
                    progress=progress,
                )
            )
            for layer in ends
        ],
    )
    yield _section(
        "Reconstructions from activations",
        "What of an image goes into a layer's channels, taken back to its pixels by the deconvnet rule.",
        lambda: [
            *([from_all_channels(network, stages, [one.image for one in shown])] if shown else []),
            *each(lambda x: reconstruct(network, first, x, "all")),
            *[
                replace(picture, name=f"{picture.name}-image-{shown[0].number}")
                for picture in (
                    _whole(reconstruct(network, stage, shown[0].image)) for stage in stages[1:-1] if shown
                )
            ],
            *each(lambda x: reconstruct(network, last, x, channels=MAPS)),
            *each(lambda x: _above_random(network, last, x)),
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
        lambda: [_whole(dream(network, middle_layer(network), one.image, progress=progress)) for one in shown[:1]],
    )


def _patterns(
    network: Network,
    dataset: Dataset | None,
    ends: Sequence[str],
    stages: Sequence[str],
    heads: Sequence[str],
    store: Path,
    budget: float,
    progress: Progress,
) -> list[Picture]:
    """What channels of the first and last layer answer to, each beside random weights, and what the classes do.

    With a budget, of all channels of every depth, for as long as it says.
    """

    def draw(layer: str, channels: range | None = None) -> Picture:
        drawn = maximize(network, layer, channels, dataset, steps=ASCENT_STEPS, store=store, progress=progress)
        return with_own(network, layer, _whole(drawn))

    if budget:
        reached = maximize_within(network, store, dataset, budget=budget, layers=stages, progress=progress)
        found = {
            depth: drawn_picture(network, store, depth, None, dataset)
            for depth, steps in zip(stages, reached.values(), strict=True)
            if any(steps)
        }
    else:
        found = {layer: draw(layer) for layer in ends}
    pictures: list[Picture] = []
    for layer, patterns in found.items():
        pictures.append(patterns)
        if layer in ends and dataset:
            control = beside_random(network, layer, patterns, dataset, steps=ASCENT_STEPS, progress=progress)
            pictures.append(_whole(control))
    return pictures + [draw(head, classes_shown(network)) for head in heads]


def _above_random(network: Network, layer: str, image: Tensor) -> Picture:
    """The strongest channels by guided backprop, and the same from random weights in a row below."""
    learned = _whole(reconstruct(network, layer, image, channels=BESIDE_RANDOM, rule="guided"))
    random = _whole(reconstruct(randomized(network), layer, image, learned.numbers["channels"], rule="guided"))
    both = with_control(replace(learned, columns=len(learned.values)), random, originals=1)
    return replace(both, captions=(*learned.captions, *["random"] * len(random.values)))  # each below its own


def _whole(picture: Picture) -> Picture:
    """The picture. Raises KeyboardInterrupt where that cut it short: a method keeps what it has, a report ends."""
    if picture.numbers.get("interrupted"):
        raise KeyboardInterrupt
    return picture


def classes_shown(network: Network) -> range:
    """The classes of which a picture is drawn: a thousand would take hours and as many pages."""
    return range(min(len(network.class_names), CLASSES))


def _section(heading: str, about: str, draw: Callable[[], list[Picture]], *, beside_image: bool = False) -> Section:
    """The section, or why there is none."""
    try:
        pictures = draw()
        about = about if pictures else f"{about} Not drawn, since there is no image."
        return Section(heading, about, pictures, beside_image)
    except UsageError as error:
        return Section(heading, f"{about} Not drawn: {error}.", [])
