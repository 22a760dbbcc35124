"""What a channel answers to most, drawn by gradient ascent."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import resolve_layer
from convscope.methods.ascents.canvas import Parameterization, check_parameterization
from convscope.methods.ascents.excite import Excited, chunks, excite, joined
from convscope.methods.ascents.excited_picture import excited_picture
from convscope.methods.ascents.image_statistics import statistics_for
from convscope.methods.ascents.objectives import AIMS, Aim
from convscope.methods.ascents.yardstick import find_yardstick
from convscope.methods.needs import Channels, channel_count, check_at_least, choose_channels
from convscope.types import Dataset, Network, Picture, Progress, no_progress

MOST = 16  # channels, unless more are asked for


def maximize(
    network: Network,
    layer: str,
    channel: Channels = None,
    dataset: Dataset | None = None,
    *,
    parameterization: Parameterization = "fourier",
    objective: Literal["channel", "position"] | Tensor = "channel",
    steps: int = 64,
    variants: int = 1,
    frames: int = 1,
    seed: int = 0,
    store: Path | None = None,
    progress: Progress = no_progress,
) -> Picture:
    """For each channel the image, of the network's input size, that excites it most: activation maximization.

    Without `channel`, the first 16. The values are colours (channels × variants × frames, 3, H, W). The
    objective is taken before the layer's ReLU; a direction (K,) over the layer's channels is also one, and is
    drawn instead of channels. Colours and frequencies come from the dataset's training images, or without one
    from the network's mean and deviation. Ctrl-C gives what is drawn so far.

    The numbers, a list of one for each channel and variant: `activation` the highest value at any position, for
    the image as it is; `ratio` this over the highest that the training images give (`dataset_maximum`; up to
    1,000 of them, or all with a `store`, the folder where `survey_store` keeps what it found); `objective` what
    was climbed, with its start and the mean over up to 1,000 training images; `agreement` of two random
    starts, of which the better is shown: the cosine between the changes of the layer's mean response. Of
    several variants, instead, their `likeness`. `dead_channels` are moved by nothing or above zero for none of
    those images.

    Raises UsageError for a layer, channel or knob that is not. After Erhan et al. 2009 (Université de Montréal,
    report 1341), Olah et al. 2017 (doi:10.23915/distill.00007) and, for maco, Fel et al. 2023 (arXiv:2306.06805).

    Parameters
    ----------
    parameterization
        fourier (decorrelated frequencies and colours), maco (phases only) or pixel (each for itself).
    objective
        channel (the mean over positions) or position (the centre alone).
    steps
        Steps of gradient ascent.
    variants
        Images a channel, kept different from each other.
    frames
        Snapshots along the ascent, a column each; the last is the end.
    seed
        Decides the random starts.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU())
    >>> network = Network(model, (0.5,) * 3, (0.25,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> picture = maximize(network, "0", [2, 5], steps=4)
    >>> picture.values.shape, picture.numbers["channels"]
    ((2, 3, 16, 16), [2, 5])
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    check_parameterization(parameterization)
    check_at_least(1, steps=steps, variants=variants, frames=frames)
    check_at_least(0, seed=seed)
    available = channel_count(network, name)
    aim, direction = _aim(objective, available, name)
    chosen = (
        [0]
        if direction is not None
        else choose_channels(channel, available, layer=layer, most=MOST, class_names=network.class_names)
    )
    statistics = statistics_for(network, dataset)
    yardstick = (
        None
        if dataset is None
        else find_yardstick(network, name, dataset, aim, direction=direction, store=store, progress=progress)
    )
    shown = _frame_steps(steps, frames)
    parts, drawn = chunks(chosen, network.input_size, variants=variants), list[Excited]()
    for number, part in enumerate(parts):

        def tell(what: str, done: int, _total: int | None, number: int = number) -> None:
            progress(what, number * steps + done, len(parts) * steps)

        drawn.append(
            excite(
                network,
                name,
                part,
                statistics,
                aim=aim,
                direction=direction,
                parameterization=parameterization,
                steps=steps,
                variants=variants,
                seed=seed,
                keep=shown[:-1],
                progress=tell,
            )
        )
        if drawn[-1].interrupted:
            break
    return excited_picture(
        network,
        name,
        joined(drawn),
        [index for part in parts[: len(drawn)] for index in part for _ in range(variants)],
        yardstick,
        called=layer,
        suffix=f"-{channel}" if isinstance(channel, (int, str)) else "",
        aim="direction" if direction is not None else aim,
        steps=shown,
        variants=variants,
        provenance={
            "Parameterization": parameterization,
            "Steps": str(steps),
            "Seed": str(seed),
            "Statistics": "assumed" if dataset is None else dataset.name,
        },
    )


def _aim(objective: str | Tensor, available: int, layer: str) -> tuple[Aim, Tensor | None]:
    """What to climb, and the direction, where it is one."""
    if isinstance(objective, Tensor):
        if objective.shape != (available,):
            raise UsageError(f"a direction of shape {tuple(objective.shape)} in {layer}; allowed: ({available},)")
        return "channel", objective.detach()
    if objective not in AIMS:
        raise UsageError(f'no objective "{objective}"; allowed: {", ".join(AIMS)}, or a tensor ({available},)')
    return objective, None


def _frame_steps(steps: int, frames: int) -> list[int]:
    """The steps after which images are shown: the last, and before it the start and powers of a common factor.

    >>> _frame_steps(64, 5), _frame_steps(64, 1)
    ([0, 1, 4, 16, 64], [64])
    """
    if frames == 1:
        return [steps]
    later = np.geomspace(1, steps, frames - 1).round().astype(int) if frames > 2 else np.array([steps])
    return list(dict.fromkeys([0, *later.tolist()]))
