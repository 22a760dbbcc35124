"""Activation maximization per channel, ours and torch-lucent's: time, and what the images as they are reach."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.timing import Comparison, arguments, compare, parse, report
from convscope.errors import UsageError
from convscope.hooks import frozen_eval, resolve_layer
from convscope.methods.maximize import maximize
from convscope.methods.needs import layer_maps
from convscope.types import Network

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what Lucent normalizes by, whatever the network


def main(argv: Sequence[str]) -> None:
    """Time both at the first convolution and at the last stage, and print what each reaches there."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--run", help="a run folder whose network is looked at; a random torchvision resnet18 without"
    )
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--channels", type=int, default=16, help="that ours draws in one call")
    parser.add_argument("--peer-channels", type=int, default=2, help="that are timed of the peer, one call each")
    asked = parse(parser, argv)
    network = _network(asked.run)
    comparisons: list[Comparison] = []
    for layer in ("conv1", "layer4"):
        for fed in (network.input_size[0], 224):
            comparisons.append(_compare(network, layer, fed, asked))
    facts = {
        "network": network.name,
        "canvas": "×".join(map(str, network.input_size)),
        "steps": asked.steps,
        "precision": "fp32",
        "ours": f"{asked.channels} channels a call, two starts each, evidence included",
    }
    report(comparisons, packages=["torch-lucent", "kornia", "torchvision"], facts=facts, json=asked.json)


def _network(run: str | None) -> Network:
    """The network of a run, or torchvision's ResNet-18 with random weights; normalized as Lucent does."""
    if run is not None:
        from convscope.training.run import open_run

        found = open_run(run).network(say=print)
        return Network(found.model, *IMAGENET, found.input_size, found.class_names, found.name)
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return Network(resnet18(), *IMAGENET, (32, 32), (), "torchvision's resnet18, random weights")


def _compare(network: Network, layer: str, fed: int, asked: argparse.Namespace) -> Comparison:
    """Seconds a channel; the peer resizes what it feeds to `fed` pixels (224 is its default)."""
    name = resolve_layer(network.model, layer)
    channels, drawn = list(range(asked.channels)), dict[str, Any]()

    def ours() -> None:
        drawn["ours"] = maximize(network, name, channels, steps=asked.steps).values

    def peer() -> None:
        images = [_lucent(network, name, channel, fed, asked.steps) for channel in channels[: asked.peer_channels]]
        drawn["peer"] = np.concatenate(images)

    seconds = compare(ours, peer, what="", pairs=asked.pairs)
    reached = {who: _reached(network, name, images[: asked.peer_channels]) for who, images in drawn.items()}
    what = (
        f"{layer}, a channel; Lucent feeds {fed} px; clean mean {reached['ours'][0]:.3g} and {reached['peer'][0]:.3g}"
    )
    return Comparison(
        f"{what}, highest {reached['ours'][1]:.3g} and {reached['peer'][1]:.3g}",
        tuple(each / len(channels) for each in seconds.ours),
        tuple(each / asked.peer_channels for each in seconds.peer),
        wanted=20 if layer == "conv1" else 4,
    )


def _lucent(network: Network, layer: str, channel: int, fed: int, steps: int) -> np.ndarray:
    """Lucent's image (1, 3, H, W), with its own parameterization, transforms, objective and optimizer."""
    try:
        from lucent.optvis import param, render
    except ImportError as error:
        raise UsageError(
            f"the peer is missing ({error}); get it: pip install decorator ipython; "
            "pip install --no-deps torch-lucent kornia==0.4.1"
        ) from error
    model, (height, width) = network.model.eval(), network.input_size
    images = render.render_vis(
        model,
        f"{layer.replace('.', '_')}:{channel}",
        lambda: param.image(width, height),
        thresholds=(steps,),
        progress=False,
        show_image=False,
        fixed_image_size=fed,
    )
    for module in model.modules():
        module._forward_hooks.clear()  # it leaves them behind, and each call would be slower than the one before
    model.zero_grad()
    return images[0].transpose(0, 3, 1, 2)


def _reached(network: Network, layer: str, images: np.ndarray) -> tuple[float, float]:
    """The median over channels of the mean and of the highest value before the ReLU, for the images as they are."""
    with frozen_eval(network.model), torch.no_grad():
        maps = layer_maps(network, layer, torch.from_numpy(images).float(), before_relu=True)
    own = [maps[index, index] for index in range(len(maps))]
    return statistics.median(each.mean().item() for each in own), statistics.median(each.max().item() for each in own)
