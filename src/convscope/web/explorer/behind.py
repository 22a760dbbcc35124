"""What the explorer computes in the background: predictions, the survey, patterns; what is looked at comes first."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from convscope.durable import replace_file, to_json
from convscope.errors import ConvscopeError
from convscope.methods.ascents.pattern_store import ROUNDS, PatternStore
from convscope.methods.surveys.class_images import predict
from convscope.methods.surveys.survey import surveyed_layers
from convscope.methods.surveys.survey_store import stored_survey
from convscope.methods.surveys.tally import LayerSurvey
from convscope.types import Dataset, Network, Say
from convscope.web.explorer.ending import Closed
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.stream import Stream
from convscope.web.explorer.work import Lane

Value = TypeVar("Value")


class Behind:
    """Long work on one thread that leaves the processor to all others, and what it has found so far."""

    def __init__(self, explored: Explored, network: Network, stream: Stream, *, warn: Say) -> None:
        self._explored = explored
        self._stream = stream
        self._warn = warn
        self._lane = Lane(network, name="background", behind=True)
        self._looked_at: list[str] = []  # layers, the last one first
        self._wanted: dict[tuple[str, int], None] = {}  # layers and channels, in the order in which they were asked
        self._ready = threading.Event()
        self.surveys: dict[str, LayerSurvey] = {}
        self.probabilities: np.ndarray | None = None  # (N, classes) of the gallery's predicted split
        self.asking = True  # whether they are still to come
        self.patterns: PatternStore | None = None
        self.drawn: dict[str, list[int]] = {}  # by layer, in how many steps each channel's pattern is drawn

    def start(self) -> None:
        """Begin; what was found by an earlier call is there at once."""
        self._lane.put(self._go)

    def close(self) -> None:
        """Take on nothing more, and give up what is being done."""
        self._ready.set()
        self._lane.close()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._lane.join()

    def look_at(self, layer: str) -> None:
        """A person looks at this layer: it comes first."""
        if self._looked_at[:1] != [layer]:
            self._looked_at = [layer, *(each for each in self._looked_at if each != layer)]

    def want_pattern(self, layer: str, channel: int) -> None:
        """Draw the part that holds this channel before all that nobody waits for."""
        self.look_at(layer)
        if (layer, channel) not in self._wanted:
            self._wanted[layer, channel] = None
            self._lane.put(self._draw_wanted)

    def want_survey(self, layer: str) -> None:
        """Survey a layer that is not among those surveyed anyway, once these are."""
        if self.surveys:
            self._lane.put(lambda network: self._survey(network, [layer]))

    def put(self, work: Callable[[Network], object]) -> None:
        """Do this before all that nobody waits for; it tells its `progress` often, which lets others in between."""
        self._lane.put(work)

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON that is kept under a name for these weights and images, or else made now and kept."""
        self._ready.wait()
        found = self.find(name)
        if found is None:
            found = make()
            self.keep(f"{name}.json", to_json(found))
        return found

    def find(self, name: str) -> Any | None:
        """The JSON that is kept under a name; None where there is none yet."""
        path = self.path(f"{name}.json")
        try:
            return json.loads(path.read_bytes()) if path else None
        except (OSError, ValueError):
            return None

    def path(self, name: str) -> Path | None:
        """Where a result of that name is kept; None while that is not known yet."""
        return self._folder() / name if self._ready.is_set() and self.patterns else None

    def keep(self, name: str, data: bytes) -> None:
        """Write a result; where the disk refuses, it is computed again next time."""
        path = self._folder() / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        except OSError as error:
            self._warn(f"cannot keep {path.name} in {path.parent}: {error.strerror}")

    def progress(self, what: str, done: int, total: int | None) -> None:
        """Say how far long work has come, and do what is wanted meanwhile. Raises Closed when it is time to end."""
        self._stream.progress(what, done, total)
        self._check()

    def _go(self, network: Network) -> None:
        """All of it, one after the other; what is wanted meanwhile is done in between."""
        explored = self._explored
        counts = {name: layer["channels"] for name, layer in explored.by_name.items() if layer["channels"]}
        self.patterns = PatternStore(network, explored.store, explored.surveyed, counts=counts)
        self._ready.set()
        for work in (self._predict, self._survey, self._draw_all):
            try:
                work(network)
            except Exception as error:  # whatever it is, the rest can still be found
                said = error if isinstance(error, ConvscopeError) else f"unforeseen {type(error).__name__}: {error}"
                self._warn(f"the explorer goes on without some of its results: {said}")

    def _predict(self, network: Network) -> None:
        """The probabilities of the test images, or of the folder's."""
        try:
            if self._explored.surveyed is not None:
                self.probabilities = self._find_probabilities(network, self._explored.surveyed)
        finally:
            self.asking = False
            self._stream.progress("predictions", 1, 1)

    def _find_probabilities(self, network: Network, dataset: Dataset) -> np.ndarray:
        """Those that are kept, or else predicted now and kept."""
        path = self._folder() / "predictions.safetensors"
        try:
            return safetensors.numpy.load(path.read_bytes())["probabilities"]
        except (OSError, KeyError, SafetensorError):
            found = predict(network, dataset, progress=self.progress)
            self.keep(path.name, safetensors.numpy.save({"probabilities": found}))
            return found

    def _survey(self, network: Network, layers: list[str] | None = None) -> None:
        """What every channel does over the training images."""
        dataset = self._explored.surveyed
        names = [name for name in layers or surveyed_layers(network) if name in self._explored.by_name]
        if dataset is not None and any(name not in self.surveys for name in names):
            store = self._explored.store
            self.surveys |= stored_survey(network, dataset, names, store=store, progress=self.progress)
        self._stream.progress("survey", 1, 1)

    def _draw_all(self, network: Network) -> None:
        """Every layer's patterns, coarsely, and those of layers that somebody has looked at more finely."""
        while (missing := self._next(network)) is not None:
            self._check()
            self._draw(network, *missing)
        self._stream.progress("patterns", 1, 1)

    def _next(self, network: Network) -> tuple[str, list[int], int] | None:
        """The layer, part and steps to be drawn next; None when all is drawn."""
        assert self.patterns is not None
        others = [name for name in surveyed_layers(network) if name not in self._looked_at]
        for rounds in (ROUNDS[:1], ROUNDS[1:2], ROUNDS[2:]):
            for name in self._looked_at + (others if rounds == ROUNDS[:1] else []):
                steps_drawn = self.steps_drawn(network, name)
                for part in self.patterns.parts(network, name):
                    if steps_drawn[part[0]] < rounds[0]:
                        return name, part, rounds[0]
        return None

    def steps_drawn(self, network: Network, name: str) -> list[int]:
        """In how many steps each of a layer's channels is drawn."""
        if self.patterns is None:
            return [0] * self._explored.by_name[name]["channels"]
        if name not in self.drawn:
            self.drawn[name] = self.patterns.steps_drawn(network, name)
        return self.drawn[name]

    def _draw_wanted(self, network: Network) -> None:
        """Draw the part of a channel that somebody waits for: of the layer looked at last, as they were asked for."""
        wanted = min([*self._wanted], key=lambda one: self._looked_at.index(one[0]), default=None)
        if wanted is None or self.patterns is None:
            return
        self._wanted.pop(wanted)
        layer, channel = wanted
        if not self.steps_drawn(network, layer)[channel]:
            part = next(part for part in self.patterns.parts(network, layer) if channel in part)
            self._draw(network, layer, part, ROUNDS[0])

    def _draw(self, network: Network, layer: str, part: list[int], steps: int) -> None:
        """Draw the patterns of a part of a layer's channels, and tell pages so."""
        assert self.patterns is not None
        if self.patterns.draw(network, layer, part, steps):
            for channel in part:
                self.drawn[layer][channel] = steps
            self._stream.drawn(layer, part, steps)
        done = sum(map(bool, self.drawn[layer]))
        self._stream.progress(f"patterns of {layer}", done, len(self.drawn[layer]))

    def _check(self) -> None:
        """Do what is wanted meanwhile. Raises Closed when it is time to end."""
        if self._lane.closed:
            raise Closed
        self._lane.catch_up()

    def _folder(self) -> Path:
        """Where results are kept: under the name that the patterns of this network and these images have as well."""
        assert self.patterns is not None
        return self._explored.store / "explorer" / self.patterns.folder.name
