"""What the explorer tells of classes: which images the network takes for them, and which channels speak for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from convscope.methods.channels.class_channels import find_class_channels
from convscope.methods.needs import class_name
from convscope.methods.surveys.class_images import Judged, choose_class_images
from convscope.types import Network
from convscope.web.answers import Missing
from convscope.web.explorer.behind import Behind
from convscope.web.explorer.explored import Explored

LIKELIEST = 9  # images of no known class that are shown of a class


class Classes:
    """The images by class, and the classes by image."""

    def __init__(self, explored: Explored, behind: Behind) -> None:
        self._explored = explored
        self._behind = behind

    def browse(self, split: str, *, target: int | None, mistakes: bool, offset: int, count: int) -> dict[str, Any]:
        """Some of a split's images: of a class, or those that the network takes for another, or all.

        What the network says is known of the test images, or of the folder's, once they are predicted; until then
        `waiting` is true.
        """
        gallery = self._explored.gallery
        labels = self._labels(split)
        asked = split == gallery.predicted and self._explored.surveyed is not None
        chances = self._behind.probabilities if asked else None
        chosen = np.arange(gallery.count(split))
        if target is not None:
            chosen = chosen[labels == target] if labels is not None else chosen[:0]
        if mistakes:
            wrong = None if chances is None or labels is None else chances.argmax(1) != labels
            chosen = chosen[:0] if wrong is None else chosen[wrong[chosen]]
        some = chosen[offset : offset + count].tolist()
        images = [
            {
                "id": image,
                "label": None if labels is None else int(labels[number]),
                "predicted": None if chances is None else int(chances[number].argmax()),
                "probability": None if chances is None else float(chances[number].max()),
            }
            for image, number in zip(gallery.ids(split, some), some, strict=True)
        ]
        return {"split": split, "total": len(chosen), "images": images, "waiting": asked and self._behind.asking}

    def _labels(self, split: str) -> np.ndarray | None:
        """The classes (N,) of a split's images, where they are known."""
        dataset = self._explored.dataset
        if dataset is None or split not in ("test", "train"):
            return None
        return (dataset.test if split == "test" else dataset.train).labels.numpy()

    def describe(self, network: Network, target: int) -> dict[str, Any]:
        """A class's images, and the channels for and against it; None where they are not known yet, or cannot be."""
        channels = self._behind.find(f"classes/{target}") if self._explored.dataset else None
        head = self._explored.head
        return {
            "class": target,
            "name": class_name(network, target),
            **self._images(target),
            "likeliest": self._likeliest(target),
            "for": channels and channels["for"],
            "against": channels and channels["against"],
            "waiting": self._explored.surveyed is not None
            and (self._behind.asking or (self._explored.dataset is not None and channels is None)),
            "head": head,
            "commands": {"pattern": self._explored.command("maximize", layer=head, channel=target) if head else None},
        }

    def _images(self, target: int) -> dict[str, Any]:
        """The most typical and the most confusing of the test images."""
        labels, chances = self._labels("test"), self._behind.probabilities
        kinds = ("typical", "intruders", "missed")
        if labels is None or chances is None:
            return dict.fromkeys(kinds)
        found = choose_class_images(chances, labels, target)
        return {kind: [self._judged(each) for each in getattr(found, kind)] for kind in kinds}

    def _likeliest(self, target: int) -> list[dict[str, Any]] | None:
        """Of images whose classes nobody knows, those that the network takes for this class soonest."""
        chances = self._behind.probabilities
        if self._explored.dataset is not None or chances is None:
            return None
        order = np.argsort(-chances[:, target], kind="stable")[:LIKELIEST].tolist()
        return [
            {"id": image, "predicted": int(chances[number].argmax()), "probability": float(chances[number, target])}
            for image, number in zip(self._explored.gallery.ids("folder", order), order, strict=True)
        ]

    def _judged(self, each: Judged) -> dict[str, Any]:
        """A test image by its id, with what the network says of it."""
        [image] = self._explored.gallery.ids("test", [each.image])
        told = asdict(each)
        del told["image"]
        return {"id": image, **told}

    def find_channels(self, network: Network, target: int) -> dict[str, Any]:
        """The channels of the last layer that add most to a class's score, and that take most from it."""
        dataset = self._explored.images_with_labels()

        def make() -> dict[str, Any]:
            found = find_class_channels(network, dataset, target)

            def tell(channels: tuple[int, ...]) -> list[dict[str, Any]]:
                return [
                    {
                        "layer": found.layer,
                        "channel": index,
                        "contribution": float(found.contributions[index]),
                        "error": float(found.errors[index]),
                    }
                    for index in channels
                ]

            return {
                "for": tell(found.strongest_for),
                "against": tell(found.strongest_against),
                "images": found.images,
            }

        return self._behind.kept(f"classes/{target}", make)

    def head(self) -> str:
        """The layer whose channels are the classes. Raises Missing where there is none."""
        name = self._explored.head
        if name is None:
            raise Missing(f"{self._explored.name} has no layer whose channels are its classes")
        return name
