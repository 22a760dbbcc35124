"""Deconvnet reconstructions of 64 channels' strongest positions: ours in one call, Captum's in one call a channel."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.timing import Comparison, arguments, compare, parse, report
from convscope.hooks import frozen_eval
from convscope.methods.needs import layer_maps
from convscope.methods.reconstruct import reconstruct
from convscope.types import Network


def main(argv: Sequence[str]) -> None:
    """Time both at the first and at the last stage, and print how far their pictures differ."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="side of the image in pixels")
    asked = parse(parser, argv)
    network = _network(asked.size)
    comparisons = [_compare(network, layer, asked) for layer in ("layer1", "layer4")]
    facts = {"network": network.name, "image": f"{asked.size}×{asked.size}", "precision": "fp32"}
    report(comparisons, packages=["captum", "torchvision"], facts=facts, json=asked.json)


def _network(size: int) -> Network:
    """Torchvision's ResNet-18 with random weights, whose ReLUs are the modules that Captum needs."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = Network(resnet18().eval(), (0.0,) * 3, (1.0,) * 3, (size, size), (), "torchvision's resnet18")
    for parameter in network.model.parameters():  # ours need not, and the peer is spared their gradients
        parameter.requires_grad_(False)
    return network


def _compare(network: Network, layer: str, asked: argparse.Namespace) -> Comparison:
    """Both on the same image and channels; Captum is given the strongest positions, which it does not look for."""
    from captum.attr import NeuronDeconvolution

    image = torch.rand(3, asked.size, asked.size, generator=torch.Generator().manual_seed(1))
    channels = list(range(asked.channels))
    with frozen_eval(network.model), torch.no_grad():
        maps = layer_maps(network, layer, image[None])[0]  # (K, h, w)
    width = maps.shape[2]
    peaks = [divmod(int(maps[channel].argmax()), width) for channel in channels]
    drawn: dict[str, Tensor] = {}

    def ours() -> None:
        picture = reconstruct(network, layer, image, channels, start="peak")
        drawn["ours"] = torch.from_numpy(picture.values[-len(channels) :])

    def peer() -> None:
        with warnings.catch_warnings(action="ignore"):
            method = NeuronDeconvolution(network.model, network.model.get_submodule(layer))
            fed = image[None].clone().requires_grad_()
            each = [method.attribute(fed, (channel, *peaks[channel])) for channel in channels]
        drawn["peer"] = torch.cat(each).detach()

    seconds = compare(ours, peer, what="", pairs=asked.pairs)
    strengths = torch.stack([maps[channel].max() for channel in channels]).clamp(min=0).view(-1, 1, 1, 1)
    apart = (drawn["ours"] - drawn["peer"] * strengths).abs().max() / drawn["ours"].abs().max()
    what = f"{layer}, {len(channels)} channels against as many calls of Captum; pictures {apart:.0e} apart"
    return Comparison(what, seconds.ours, seconds.peer, wanted=8)
