"""The survey of all layers of resnet18-7x7, against a bare forward pass over the same images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench.stand_ins import noise, untrained
from bench.timing import arguments, compare, parse, report
from convscope.methods.surveys.survey import survey, surveyed_layers
from convscope.training.run import open_run

BATCH = 250  # of the bare forward pass; the survey's own at this size


def main(argv: Sequence[str]) -> None:
    """Time both on the same model, images, precision and threads."""
    parser = arguments("survey of all layers ÷ bare forward pass, fp32")
    parser.add_argument("--images", type=int, default=50_000, help="how many images of 32×32")
    parser.add_argument("--model", default="resnet18-7x7", help="with random weights")
    parser.add_argument("--run", help="a run folder: its network instead")
    asked = parse(parser, argv)
    network = open_run(asked.run).network(say=print) if asked.run else untrained(asked.model)
    dataset = noise(asked.images)
    if torch.cuda.is_available():
        network.model.cuda()
    layers = surveyed_layers(network)

    def bare() -> None:
        """As fast as a forward pass goes: no autograd, the same batches, nothing kept."""
        device = next(network.model.parameters()).device
        parts = torch.arange(asked.images).split(BATCH)
        with torch.inference_mode():
            for images in dataset.train.images.batches(parts):
                network(images.to(device).float() / 255)

    network.model.eval()
    timed = compare(
        lambda: survey(network, dataset, layers),
        bare,
        what=f"top-images, {len(layers)} layers, against a bare forward pass",
        pairs=asked.pairs,
        warm=False,
        wanted=1 / 1.3,
    )
    facts = {"model": network.name, "images": asked.images, "size": "32×32", "precision": "fp32", "batch": BATCH}
    report([timed], facts=facts, json=asked.json)
