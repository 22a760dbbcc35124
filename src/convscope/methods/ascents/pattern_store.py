"""Where the patterns of a network's channels are kept, part by part, for one network and one dataset."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from convscope.durable import refusal_told, replace_file, to_json
from convscope.errors import UsageError
from convscope.hooks import resolve_layer
from convscope.methods.ascents.excite import Excited, chunks, excite, joined
from convscope.methods.ascents.excited_picture import excited_picture
from convscope.methods.ascents.image_statistics import statistics_for
from convscope.methods.ascents.yardstick import Yardstick, find_yardstick
from convscope.methods.needs import Channels, channel_count, choose_channels
from convscope.methods.surveys.survey_store import weights_identity
from convscope.types import Dataset, Network, Picture

FORMAT = 2  # counted up when what is stored, or how it is drawn, changes
ROUNDS = (16, 64, 256)  # steps; every channel is drawn anew in each, so that a part of a round is as good as alone
RECORD = "maximize.json"


class PatternStore:
    """The patterns of a network's channels in files: drawn a part at a time, shown as fine as they are by now.

    A part is some channels of a layer that are drawn together; each round draws every part anew in more steps.
    The methods take the network, of which any copy will do, and layers by their dotted names.
    """

    def __init__(
        self,
        network: Network,
        store: Path,
        dataset: Dataset | None = None,
        *,
        seed: int = 0,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """Patterns of other weights, normalizations, datasets or seeds have other folders in `store`/maximize.

        `counts` are layers' numbers of channels, as far as they are known.
        """
        self._dataset = dataset
        self._seed = seed
        self._record = {
            "format": FORMAT,
            "network": network.name,
            "weights": weights_identity(network),
            "input_size": list(network.input_size),
            "normalization": [list(network.mean), list(network.std)],
            "statistics": "assumed" if dataset is None else dataset.name,
            "fingerprint": "" if dataset is None else dataset.fingerprint,
            "seed": seed,
        }
        self.folder = store / "maximize" / hashlib.sha256(to_json(self._record)).hexdigest()[:12]
        self._statistics = statistics_for(network, dataset)
        self._counts = dict(counts or {})

    def begin(self) -> None:
        """Say in the folder what its patterns are of. Raises ResourceError where the disk refuses."""
        _write(self.folder / RECORD, to_json(self._record))

    def parts(self, network: Network, name: str) -> list[list[int]]:
        """The layer's channels, as they are drawn together."""
        if name not in self._counts:
            self._counts[name] = channel_count(network, name)
        return chunks(range(self._counts[name]), network.input_size)

    def plan(self, network: Network, names: Sequence[str]) -> list[tuple[int, str, list[int]]]:
        """Everything there is to draw of the layers, coarse to fine: steps, layer and part."""
        return [(steps, name, part) for steps in ROUNDS for name in names for part in self.parts(network, name)]

    def steps_drawn(self, network: Network, name: str) -> list[int]:
        """In how many steps each channel is drawn, 0 where it is not."""
        return [steps for part in self.parts(network, name) for steps in [self.steps_of(name, part)] * len(part)]

    def steps_of(self, name: str, part: list[int]) -> int:
        """In how many steps a part is drawn, 0 where it is not."""
        return max((steps for steps in ROUNDS if self.is_drawn(name, part, steps)), default=0)

    def is_drawn(self, name: str, part: list[int], steps: int) -> bool:
        """Whether a part is drawn in so many steps, and not damaged."""
        return _is_whole(self._path(name, steps, part))

    def draw(self, network: Network, name: str, part: list[int], steps: int) -> bool:
        """Draw a part in so many steps, and measure what it is compared with; false after Ctrl-C.

        Raises ResourceError where the disk refuses.
        """
        self.measure(network, name)
        start = time.monotonic()
        excited = excite(network, name, part, self._statistics, steps=steps, seed=self._seed)
        if excited.interrupted:
            return False
        seconds = torch.tensor(time.monotonic() - start)
        _save(self._path(name, steps, part), _tensors(excited) | {"seconds": seconds})
        return True

    def measure(self, network: Network, name: str) -> None:
        """Measure what the dataset's images excite in a layer, unless that is known, or there is no dataset."""
        if self._dataset is not None and not _is_whole(path := self._yardstick_path(name)):
            _save(path, vars(find_yardstick(network, name, self._dataset, "channel")))

    def expected_seconds(self, name: str, part: list[int], steps: int) -> float:
        """How long a part will take, by what it took in the round before; 0 where it was not drawn."""
        known = [less for less in ROUNDS if less < steps and self.is_drawn(name, part, less)]
        if not known:
            return 0.0
        return _load(self._path(name, known[-1], part))["seconds"].item() * steps / known[-1]

    def picture(self, network: Network, layer: str, channel: Channels = None) -> Picture:
        """The finest images of a layer's channels, or of some. Raises UsageError where there are none."""
        name = resolve_layer(network.model, layer, model_name=network.name)
        parts = {part[0]: part for part in self.parts(network, name)}
        wanted = choose_channels(channel, self._counts[name], layer=layer, class_names=network.class_names)
        room = len(parts[0])
        drawn = {first: self.steps_of(name, parts[first]) for first in {index - index % room for index in wanted}}
        owners = [index for index in wanted if drawn[index - index % room]]
        if not owners:
            raise UsageError(f"no pictures of {layer} in {self.folder} yet; draw them with maximize_within")
        whole = {
            first: _excited(_load(self._path(name, steps, parts[first]))) for first, steps in drawn.items() if steps
        }
        yardstick_path = self._yardstick_path(name)
        yardstick = _yardstick(_load(yardstick_path)) if _is_whole(yardstick_path) else None
        steps_shown = sorted({drawn[index - index % room] for index in owners})
        return excited_picture(
            network,
            name,
            joined([whole[index - index % room].pick(index % room) for index in owners]),
            owners,
            yardstick,
            called=layer,
            provenance={
                "Parameterization": "fourier",
                "Steps": ", ".join(str(steps) for steps in steps_shown),
                "Seed": str(self._seed),
                "Statistics": str(self._record["statistics"]),
            },
        )

    def _path(self, name: str, steps: int, part: list[int]) -> Path:
        return self.folder / name / f"{steps}-steps-{part[0]}-{part[-1]}.safetensors"

    def _yardstick_path(self, name: str) -> Path:
        return self.folder / name / "dataset.safetensors"


STORED = ("activations", "scores", "start_scores", "agreements", "still")


def _tensors(excited: Excited) -> dict[str, Tensor]:
    """What is stored: the images as bytes, their evidence as it is."""
    return {"images": (excited.images * 255).round().to(torch.uint8)} | {key: getattr(excited, key) for key in STORED}


def _excited(tensors: dict[str, Tensor]) -> Excited:
    evidence: dict[str, Any] = {key: tensors[key] for key in STORED}
    return Excited(images=tensors["images"].float() / 255, frames={}, likenesses=None, interrupted=False, **evidence)


def _yardstick(tensors: dict[str, Tensor]) -> Yardstick:
    return Yardstick(tensors["maxima"], tensors["means"], tensors["dead"], int(tensors["images"]))


def _save(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors and numbers. Raises ResourceError."""
    _write(path, safetensors.torch.save({key: torch.as_tensor(value).contiguous() for key, value in tensors.items()}))


def _write(path: Path, data: bytes) -> None:
    """Write a file, which is whole or not there. Raises ResourceError."""
    with refusal_told(f"save pictures in {path.parent}", "make room there"):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)


def _is_whole(path: Path) -> bool:
    """Whether the file is there and not damaged; a damaged one is drawn again."""
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _load(path: Path) -> dict[str, Tensor]:
    """The tensors of a whole file."""
    return safetensors.torch.load(path.read_bytes())
