"""What a picture's own numbers say and warn of, in plain words: the report's sentences below each figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from convscope.types import Picture

ALIKE = 0.5  # similarity to random weights from which a picture is called a poor witness
AGREE = 0.95  # of two random starts, from which a pattern is the channel's
MOST = 0.6  # the share of a channel's top images from which it is called most of them
AHEAD = 0.05  # by so much a likeness exceeds that of random weights that is called more

Numbers = Mapping[str, Any]


def measured(picture: Picture) -> str:
    """What this picture's numbers say; "" for a picture without any that words are known for.

    >>> import numpy as np
    >>> tiles, limits = np.zeros((2, 1, 4, 4)), np.zeros((2, 2))
    >>> numbers = {"dead_channels": [1], "share_of_zeros": 0.75, "maximum": [2.0, 0.0]}
    >>> measured(Picture("a", "A", tiles, limits, "sequential", (), "", numbers, {"Method": "maps"}))
    'For this image 1 of 2 channels is silent, and 75 % of all values are zero. Channel 0 answers most, up to 2.'
    """
    words = WORDS.get(picture.provenance.get("Method", ""))
    return words(picture.numbers, picture) if words else ""


def _filters(numbers: Numbers, _: Picture) -> str:
    norms, faint = numbers["norms"], numbers["faint_channels"]
    strongest = numbers["channels"][norms.index(max(norms))]
    text = (
        f"Of {len(norms)} filters, number {strongest} has the largest weights (norm {max(norms):.2g}); the "
        f"middle one of all has {median(norms):.2g}, the weakest {min(norms):.2g}."
    )
    if faint:
        text += (
            f" {_are(len(faint), 'filter')} so faint that next to nothing passes: {_some(faint)}. A picture of such "
            "a filter is one of its noise."
        )
    return text


def _maps(numbers: Numbers, picture: Picture) -> str:
    peaks, dead = numbers["maximum"], numbers["dead_channels"]
    best = picture.captions[peaks.index(max(peaks))] if picture.captions else str(peaks.index(max(peaks)))
    if not dead and numbers["share_of_zeros"] < 0.005:
        return (
            f"No value is zero, since this layer stands before a ReLU: all {len(peaks)} channels answer, with one "
            f"sign or the other. Channel {best} answers most, up to {max(peaks):.3g}."
        )
    return (
        f"For this image {_of(len(dead), len(peaks), 'channel')} silent, and {numbers['share_of_zeros']:.0%} of all "
        f"values are zero. Channel {best} answers most, up to {max(peaks):.3g}."
    ).replace("%", " %")


def _patterns(numbers: Numbers, picture: Picture) -> str:
    ratios = [each for each in numbers["ratio"] if each is not None]
    texts: list[str] = []
    if ratios:
        beyond = sum(each > 1 for each in ratios)
        texts.append(
            f"Here {beyond} of {len(ratios)} patterns excite their channel more than every training image looked at; "
            f"the middle one reaches {median(ratios):.1f} times the highest."
        )
        if beyond * 2 > len(ratios):
            texts.append("Beyond 1.0× the network is asked about images unlike all that it has seen.")
        elif max(ratios) < 1:
            texts.append(
                "Photographs reach more at their best spot, since the ascent raises a channel everywhere at once."
            )
    if (own := numbers.get("own_most")) is not None:
        texts.append(
            f"{own} of {len(picture.values)} excite their own channel more than any other of these patterns does."
        )
    if (named := numbers.get("named")) is not None:
        texts.append(
            f"The network takes {named} of {len(picture.values)} for the class that they were drawn for, though "
            "hardly a person would: being sure of a class is no sign of having seen it."
        )
    if agreements := numbers.get("agreement"):
        unsure = sum(each < AGREE for each in agreements)
        texts.append(
            f"Two random starts ended apart for {unsure} of {len(agreements)}: do not trust the details of those."
            if unsure
            else "Two random starts ended alike for all of them."
        )
    if dead := numbers.get("dead_channels"):
        texts.append(f"{_are(len(dead), 'channel')} dead: {_some(dead)}.")
    return " ".join(filter(None, texts))


def _beside_random(numbers: Numbers, _: Picture) -> str:
    pattern, noise, random, random_noise = (
        middle(numbers[key]) for key in ("pattern", "noise", "random_pattern", "random_noise")
    )
    if pattern is None or random is None or noise is None or random_noise is None:
        return "Too many of these channels are silent for training images to say how far patterns get beyond them."
    text = (
        f"In the median, a learned channel's pattern reaches {pattern:.1f} times what training images reach, and "
        f"random noise with their colours and frequencies {noise:.1f} times; with random weights it is "
        f"{random:.1f} and {random_noise:.1f}. "
    )
    text += (
        "An untrained channel gets as far, so a high number is no sign of learning: only what the tiles show is."
        if random >= pattern
        else "The ascent finds more in the learned channels than in untrained ones, which is what learning adds."
    )
    if noise < 0.8 * random_noise:
        text += " Noise moves the learned channels less than the untrained ones: they wait for what noise lacks."
    elif noise > 0.8:
        text += " Noise moves these channels almost as far as training images do: what they answer to is simple."
    return text


def _top_images(numbers: Numbers, _: Picture) -> str:
    channels, selective = numbers["channels"], numbers["selectivity"]
    best = selective.index(max(selective))
    common = sum(share >= MOST for share in numbers["commonest_class_share"])
    most = numbers["share_of_zeros"][best]
    text = (
        f"{common or 'None'} of {len(channels)} channels {'has' if common == 1 else 'have'} the same class in most "
        f"of their top images. Most selective is channel {channels[best]}, for “{numbers['selective_class'][best]}” "
        f"(selectivity {selective[best]:.2f} of 1); it is silent at {100 * most:.0f} % of all positions."
    )
    if max(selective) < 1 / 3:
        text += " That is little: no class excites it twice as much as the others, so call no channel by a class."
    if dead := numbers["dead_channels"]:
        text += f" {_are(len(dead), 'channel')} dead: {_some(dead)}."
    if twins := sum(each is not None for each in numbers["duplicate_of"]):
        text += f" {_are(twins, 'channel')} a duplicate of another."
    return text


def _reconstructions(numbers: Numbers, _: Picture) -> str:
    if "random_likeness" in numbers:
        ahead = ahead_of_random(numbers)
        return (
            f"Here {ahead} of {len(numbers['likeness'])} depths give back more of the images than random weights do."
        ) + (
            " Where they do not, that the picture looks like the image is the architecture's doing."
            if ahead < len(numbers["likeness"])
            else ""
        )
    texts: list[str] = []
    if (alike := numbers.get("sum_similarity")) is not None:
        texts.append(
            f"All at once and the sum of the channels one by one have a correlation of {alike:.2f}"
            + (", which is the same picture." if alike > 0.995 else ": ReLUs make them differ.")
        )
    peaks, channels = numbers["maximum"], numbers["channels"]
    if len(peaks) > 1 and max(peaks) > 0:
        strongest = channels[peaks.index(max(peaks))]
        texts.append(
            f"Of the {len(channels)} channels shown, {strongest} answers most (up to {max(peaks):.3g}), the weakest "
            f"up to {min(peaks):.3g}; each tile's own scale hides that."
        )
    if dark := numbers.get("dark_channels"):
        texts.append(f"{_are(len(dark), 'tile')} empty, since the channel gives nothing above zero for this image.")
    if control := numbers.get("control_similarity"):
        texts.append(_controlled(control))
    return " ".join(texts)


def _inversions(numbers: Numbers, picture: Picture) -> str:
    layers = [caption.partition("\n")[0] for caption in picture.captions[1:]]
    errors, away = numbers["pixel_error"], numbers["distance"]
    worst = away.index(max(away))
    return (
        f"From {layers[0]} to {layers[-1]} the pixels' error goes from {errors[0]:.2f} to {errors[-1]:.2f} (of a "
        f"range of 1), while the features are matched to {min(away):.2f} to {away[worst]:.2f} of their length, worst "
        f"at {layers[worst]}. "
    ) + (
        "Pixels get lost although the features fit: what changed is what the deeper layers do not look at."
        if errors[-1] > 1.5 * errors[0]
        else "The last depth still fits the pixels about as well as the first: little has been thrown away by then."
    )


def _attributions(numbers: Numbers, _: Picture) -> str:
    pairs = zip(numbers["logit_without_top"], numbers["logit_without_elsewhere"], strict=True)
    falls = [elsewhere - top for top, elsewhere in pairs]
    methods = numbers["methods"]
    found = sum(each > 0 for each in falls)
    best = falls.index(max(falls))
    text = (
        f"The maps ask what speaks for “{numbers['target']}”, which the network gives "
        f"{100 * numbers['probability']:.0f} %. For {found} of {len(falls)} maps, removing what they point at lowers "
        f"that class's score more than removing as many pixels elsewhere does, most for {methods[best]} (by "
        f"{falls[best]:.1f} more)."
    )
    if found < len(falls):
        text += f" No evidence here: {', '.join(m for m, fall in zip(methods, falls, strict=True) if fall <= 0)}."
    if control := numbers.get("control_similarity"):
        text += f" {_controlled(control, methods)}"
    return text


def _dreams(numbers: Numbers, _: Picture) -> str:
    before, after = numbers["activation_before"], numbers["activation_after"]
    return (
        f"The layer answers {after / before:.1f} times as strongly ({before:.3g} before, {after:.3g} after), "
        f"though pixels changed by only {numbers['change']:.2f} of their range."
        if before > 0
        else f"The layer's answer rose from {before:.3g} to {after:.3g}."
    )


def _controlled(similarities: Sequence[float], names: Sequence[str] = ()) -> str:
    """What the likeness to random weights says."""
    alike = [place for place, each in enumerate(similarities) if each >= ALIKE]
    highest = max(similarities)
    if not alike:
        return (
            f"No tile is much like the one from random weights (at most {highest:.2f}), so these pictures do depend "
            "on what was learned."
        )
    named = f": {', '.join(names[place] for place in alike)}" if len(names) == len(similarities) else ""
    return (
        f"{_are(len(alike), 'tile')} like the one from random weights (similarity of {ALIKE} and more, at most "
        f"{highest:.2f}){named}. There the picture shows the image and the architecture."
    )


def ahead_of_random(numbers: Numbers) -> int:
    """At how many depths what goes back from all channels keeps more of the images than with random weights."""
    pairs = zip(numbers["likeness"], numbers["random_likeness"], strict=True)
    return sum(learned > random + AHEAD for learned, random in pairs)


def middle(values: Sequence[float | None]) -> float | None:
    """The median of what is known, if that is at least half."""
    known = [each for each in values if each is not None]
    return median(known) if known and 2 * len(known) >= len(values) else None


def _some(channels: Sequence[int]) -> str:
    """The first few of them."""
    return ", ".join(map(str, channels[:6])) + (", …" if len(channels) > 6 else "")


def _are(count: int, what: str) -> str:
    return f"{count} {what} is" if count == 1 else f"{count} {what}s are"


def _of(count: int, total: int, what: str) -> str:
    return f"{count or 'none'} of {total} {what}s {'is' if count <= 1 else 'are'}"


WORDS: dict[str, Callable[[Numbers, Picture], str]] = {
    "filters": _filters,
    "maps": _maps,
    "maximize": _patterns,
    "patterns-random": _beside_random,
    "top-images": _top_images,
    "reconstruct": _reconstructions,
    "invert": _inversions,
    "attribute": _attributions,
    "dream": _dreams,
}
