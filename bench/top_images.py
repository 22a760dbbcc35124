"""The survey of all layers of resnet18-7x7, against a bare forward pass over the same images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench.timing import arguments, compare, report
from convscope.data.memory import dataset_in_memory
from convscope.methods.surveys.survey import survey, surveyed_layers
from convscope.models import build_model
from convscope.training.run import open_run
from convscope.types import Dataset, Network

CLASSES = tuple(f"class {number}" for number in range(10))
BATCH = 250  # of the bare forward pass; the survey's own at this size


def main(argv: Sequence[str]) -> None:
    """Time both on the same model, images, precision and threads."""
    parser = arguments("survey of all layers ÷ bare forward pass, fp32")
    parser.add_argument("--images", type=int, default=50_000, help="how many images of 32×32")
    parser.add_argument("--model", default="resnet18-7x7", help="with random weights")
    parser.add_argument("--run", help="a run folder: its network instead")
    asked = parser.parse_args(argv)
    if asked.threads:
        torch.set_num_threads(asked.threads)
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


def untrained(model: str) -> Network:
    """A network of the table with random weights."""
    built = build_model(model, class_count=len(CLASSES), seed=0)
    return Network(built, (0.5,) * 3, (0.25,) * 3, (32, 32), CLASSES, model)


def noise(count: int) -> Dataset:
    """So many images of smooth noise: what is in them does not change the time."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    parts = [
        (torch.nn.functional.interpolate(part, (32, 32), mode="bilinear") * 255).to(torch.uint8)
        for part in coarse.split(1000)
    ]
    half = torch.cat(parts), torch.arange(count) % len(CLASSES)
    few = half[0][:100], half[1][:100]
    return dataset_in_memory("noise", half, few, CLASSES, source="drawn here")
