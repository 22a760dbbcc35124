"""The report in short, in plain words: what was trained, how it went, what it learned, what its pictures prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convscope.hooks import layer_aliases
from convscope.report.measured import MOST, ahead_of_random, middle
from convscope.report.page import duration, percent, settings, spoken
from convscope.report.training_words import began_said, has_risen, mistakes_of, smaller_images
from convscope.types import Event, Network, Picture

NEAR = 0.01  # of the best test accuracy, from which on a training has brought next to nothing
KNOWN = 0.03  # more of the training images than of new ones, from which on that is memory

Numbers = Mapping[str, Any]


def in_short(
    *,
    network: Network,
    images: Numbers,
    config: Numbers,
    events: Sequence[Event],
    phases: Sequence[Numbers],
    end: Event | None,
    matrix: np.ndarray | None,
    found: Numbers,
    pictures: Sequence[Picture],
) -> list[tuple[str, str]]:
    """Questions that whoever reads a report asks first, each with this run's answer; those without one are left out.

    `found` are `results.findings`, `phases` are `results.phase_rows`, `pictures` all that methods drew.
    """
    aliases = {inner: alias for alias, inner in layer_aliases(network.model).items()}
    answers = [
        ("What was trained?", _trained(network, images, config, phases)),
        ("How did it go?", _went(images, events, end, matrix, found)),
        ("What did it learn?", " ".join([*_classes(network, matrix, found), *_insides(pictures, aliases)])),
        ("What can the pictures prove, and what not?", _proves(pictures, aliases)),
    ]
    return [(question, answer) for question, answer in answers if answer]


def _trained(network: Network, images: Numbers, config: Numbers, phases: Sequence[Numbers]) -> str:
    """The network, what it began from, the images and the phases."""
    recipe: Numbers = config.get("recipe") or {}
    size = sum(parameter.numel() for parameter in network.model.parameters())
    text = f"{network.name}, a network of {size:,} parameters"
    if recipe:
        text += f", from {began_said(config)}" + (
            ", of which only the head was trained" if recipe.get("freeze") else ""
        )
    if images["train_images"] is not None:
        text += f", on {images['train_images']:,} images of {len(network.class_names)} classes"
    text += f" ({spoken(images['name'])})"
    if phases:
        smaller = smaller_images(recipe)
        spans = [
            f"{phase['optimizer']} at {phase['learning_rate']:g} for "
            + (f"{phase['epochs']:.3g} epochs" if phase["epochs"] is not None else f"{phase['steps']:,} steps")
            + (" on smaller images" if phase["index"] in smaller else "")
            for phase in phases
        ]
        text += f": {', then '.join(spans)}"
        text += f", in batches of {recipe['batch_size']}" if recipe.get("batch_size") else ""
    if "augmentation" in recipe:
        varied = settings(recipe["augmentation"])
        text += f", with images varied at random ({varied})" if varied else ", with the images as they are"
    text += "."
    if images["test_images"] is not None:
        text += f" The {images['test_images']:,} test images took no part in it."
    return text


def _went(
    images: Numbers, events: Sequence[Event], end: Event | None, matrix: np.ndarray | None, found: Numbers
) -> str:
    """How test accuracy came about, and what to make of it."""
    accuracy = found["accuracy"]
    if accuracy is None:
        return ""
    known = [event for event in events if event.kind == "eval" and "test_accuracy" in event.data]
    text = f"Test accuracy is {percent(accuracy)}"
    if end:
        text += f" after {end.step:,} steps in {duration(end.time)}"
    if matrix is not None:
        text += f"; always naming the commonest class would give {percent(matrix.sum(axis=1).max() / matrix.sum())}"
    text += "."
    if len(known) > 1:
        text += f" {_course([event.data for event in known], images['test_images'])}"
    if end and end.data["train_accuracy"] - accuracy > KNOWN:
        more = 100 * (end.data["train_accuracy"] - accuracy)
        text += (
            f" Of its training images it knows {percent(end.data['train_accuracy'])}, {more:.1f} points more: "
            "what lies between is memorized, and holds for no new image."
        )
    elif end:
        text += " It knows its training images hardly better, so what it learned holds for new ones."
    return text


def _course(known: Sequence[Numbers], images: int | None) -> str:
    """How evaluations of so many test images followed each other."""
    accuracies = [float(data["test_accuracy"]) for data in known]
    losses = [float(data["test_loss"]) for data in known if data.get("test_loss") is not None]
    best = max(accuracies)
    near = next(place for place, each in enumerate(accuracies) if each >= best - NEAR)
    last = known[-1]["epoch"]
    text = f"It began with {percent(accuracies[0])} after epoch {known[0]['epoch']:.3g}"
    if known[near]["epoch"] <= 0.75 * last:
        text += (
            f" and was within a point of its best, {percent(best)}, from epoch {known[near]['epoch']:.3g} of "
            f"{last:.3g} on: the rest brought next to nothing."
        )
    elif accuracies[-1] >= best:
        text += ", and the last evaluation was the best."
    else:
        text += f"; the best was {percent(best)} after epoch {known[accuracies.index(best)]['epoch']:.3g}."
    if len(losses) < len(known):
        return text
    lowest = known[losses.index(min(losses))]
    if has_risen(min(losses), losses[-1], mistakes_of(lowest, images)):
        text += (
            f" Test loss was lowest, {min(losses):.3g}, after epoch {lowest['epoch']:.3g} and rose to "
            f"{losses[-1]:.3g}: since then the network has grown surer of its mistakes."
        )
    return text


def _classes(network: Network, matrix: np.ndarray | None, found: Numbers) -> list[str]:
    """Which classes it tells well and badly."""
    if matrix is None or found["best"] == found["worst"]:
        return []
    names, shares, confused = network.class_names, found["shares"], found["confused"]
    text = (
        f"It tells “{names[found['best']]}” best ({percent(shares[found['best']])}) and “{names[found['worst']]}” "
        f"worst ({percent(shares[found['worst']])})"
    )
    if confused["count"]:
        text += (
            f"; most often it takes “{names[confused['true']]}” for “{names[confused['said']]}” ({confused['count']} "
            f"of {confused['of']} times)"
        )
    return [f"{text}."]


def _insides(pictures: Sequence[Picture], aliases: Mapping[str, str]) -> list[str]:
    """What the pictures' numbers say of the first and the last depth."""
    texts: list[str] = []
    tops = _of(pictures, "top-images")
    if len(tops) > 1:
        shares = [each.numbers["commonest_class_share"] for each in (tops[0], tops[-1])]
        early, late = (sum(share >= MOST for share in each) for each in shares)
        text = (
            f"Of the channels looked at, {early} of {len(shares[0])} in {_layer(tops[0], aliases)} and {late} of "
            f"{len(shares[1])} in {_layer(tops[-1], aliases)} have one class in most of the images that "
            "excite them most: "
        )
        texts.append(text + ("classes come late." if late > early else "depth has not sorted them by class."))
    if inversions := _of(pictures, "invert"):
        errors = inversions[0].numbers["pixel_error"]
        names = [caption.partition("\n")[0] for caption in inversions[0].captions[1:]]
        texts.append(
            f"An image can be found again from {names[0]} with an error of {errors[0]:.2f} of the pixels' range, "
            f"from {names[-1]} with {errors[-1]:.2f}."
        )
    return texts


def _proves(pictures: Sequence[Picture], aliases: Mapping[str, str]) -> str:
    """Which pictures differ from those of random weights, and what none can tell."""
    if not pictures:
        return ""
    held: list[str] = []
    for each in _of(pictures, "patterns-random"):
        learned, random = (middle(each.numbers[key]) for key in ("pattern", "random_pattern"))
        if learned is not None and random is not None:
            further = "further than" if learned > random else "no further than"
            held.append(f"patterns of {_layer(each, aliases)} excite their channels {further} untrained ones do")
    for each in _of(pictures, "reconstruct"):
        if "random_likeness" in each.numbers:
            ahead, depths = ahead_of_random(each.numbers), len(each.numbers["likeness"])
            held.append(f"reconstructions keep more of the images at {ahead} of {depths} depths")
    for each in _of(pictures, "attribute"):
        pairs = list(zip(each.numbers["logit_without_top"], each.numbers["logit_without_elsewhere"], strict=True))
        found = sum(top < elsewhere for top, elsewhere in pairs)
        held.append(
            f"for “{each.numbers['target']}” {found} of {len(pairs)} attributions point at pixels that matter"
        )
    text = f"Held against controls: {'; '.join(held)}. " if held else ""
    return (
        f"{text}What does no better than its control shows the method and the architecture, not what was learned. "
        "What does better shows what moves a channel, not that the network needs it. Few channels and images were "
        "looked at, and another seed gives other channels; for the network as a whole only the "
        "figures on all test images speak."
    )


def _of(pictures: Sequence[Picture], method: str) -> list[Picture]:
    """The pictures of one method."""
    return [picture for picture in pictures if picture.provenance.get("Method") == method]


def _layer(picture: Picture, aliases: Mapping[str, str]) -> str:
    """What the layer that a picture is of is called."""
    layer = picture.provenance.get("Layer", "a layer")
    return aliases.get(layer, layer)
