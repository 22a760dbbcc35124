"""What the explorer looks at: a network with its images, where what is computed is kept, and the commands for it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convscope.errors import ConvscopeError, UsageError
from convscope.hooks import resolve_layer
from convscope.methods.attributions import HOWS, RULED
from convscope.training.folder import read_events
from convscope.types import Dataset, Network
from convscope.web.answers import Missing
from convscope.web.explorer.early import last_figures
from convscope.web.explorer.images import Gallery
from convscope.web.explorer.network import describe_layers, find_head, find_rules


class Explored:
    """A network and what belongs to it; nothing here is computed with the model but its layers' shapes, once."""

    def __init__(
        self,
        network: Network,
        run: Path | None,
        dataset: Dataset | None,
        *,
        images: Path | None,
        store: Path,
        arguments: Sequence[str],
    ) -> None:
        """`store` is where results are kept; `arguments` are what names the network in a command."""
        self.name = network.name
        self.class_names = network.class_names
        self.input_size = network.input_size
        self.weights_sha256 = network.weights_sha256
        self.run = run
        self.dataset = dataset
        self.store = store
        self.gallery = Gallery(network, dataset, images)
        self.surveyed = dataset or self.gallery.as_dataset()
        self.layers = describe_layers(network)
        self.by_name = {layer["name"]: layer for layer in self.layers}
        self.head = find_head(network, self.by_name)
        self.rules = find_rules(network)
        self._model = network.model
        self._arguments = list(arguments)
        self._parameters = sum(each.numel() for each in network.model.parameters())
        self.has_film = bool(run and (run / "film" / "film.json").is_file())
        self.description = self._describe()

    def _describe(self) -> dict[str, Any]:
        """What the page's first view shows."""
        dataset = self.dataset
        return {
            "name": self.name,
            "source": self._arguments[0],
            "dataset": dataset
            and {"name": dataset.name, "train": len(dataset.train.labels), "test": len(dataset.test.labels)},
            "classes": list(self.class_names),
            "input_size": list(self.input_size),
            "parameters": self._parameters,
            "figures": self._figures(),
            "layers": self.layers,
            "head": self.head,
            "rules": list(self.rules),
            "attributions": {how: words for how, words in HOWS.items() if "guided" in self.rules or how not in RULED},
            "splits": {split: self.gallery.count(split) for split in self.gallery.splits},
            "film": self.has_film,
            "weights_sha256": self.weights_sha256,
        }

    def _figures(self) -> dict[str, float]:
        """The accuracies that the run's log tells last."""
        try:
            return last_figures(read_events(self.run)) if self.run else {}
        except ConvscopeError:
            return {}

    def layer(self, name: str) -> str:
        """The dotted name of a layer that can be opened. Raises Missing."""
        try:
            found = resolve_layer(self._model, name[:200], model_name=self.name)
        except UsageError as error:
            raise Missing(str(error)) from error
        if not self.by_name.get(found, {}).get("explorable"):
            raise Missing(f'layer "{found}" of {self.name} has no page: it gives no maps, or those of its input')
        return found

    def page_of(self, layer: str) -> str | None:
        """The layer whose page shows a layer's channels: itself, or the one before a pool and the like."""
        if layer not in self.by_name:
            return None
        for name in reversed([*self.by_name][: [*self.by_name].index(layer) + 1]):
            told = self.by_name[name]
            if told["explorable"]:
                return name if told["channels"] == self.by_name[layer]["channels"] else None
            if told["parameters"] and "BatchNorm" not in told["kind"]:
                return None
        return None

    def channel(self, layer: str, channel: int) -> int:
        """A channel of an opened layer. Raises Missing."""
        available = self.by_name[layer]["channels"]
        if channel >= available:
            raise Missing(f"no channel {channel} in {layer}; allowed: 0 to {available - 1}")
        return channel

    def target(self, number: int) -> int:
        """A class of the network. Raises Missing."""
        if number >= len(self.class_names):
            raise Missing(f"no class {number} in {self.name}; allowed: 0 to {len(self.class_names) - 1}")
        return number

    def images_with_labels(self) -> Dataset:
        """The dataset. Raises Missing where there is none."""
        if self.dataset is None:
            raise Missing("this needs a dataset with classes; a run has one")
        return self.dataset

    def command(self, method: str, **flags: Any) -> str:
        """The command that draws a picture again; flags that are None are left out.

        The network's own arguments follow the method's name.
        """
        words = ["convscope", method, *self._arguments]
        for key, value in flags.items():
            if value is True:
                words.append(f"--{key}")
            elif value is not None:
                words += [f"--{key}", str(value)]
        return shlex.join(words)
