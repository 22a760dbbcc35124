"""The explorer's top images: what of a dataset, or of a folder, excites each channel most."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from convscope.methods.patches import cut, longest
from convscope.methods.receptive_field import ReceptiveField, receptive_field
from convscope.methods.surveys.tally import LayerSurvey
from convscope.methods.top_images import top_images
from convscope.paint import PAPER
from convscope.relu_rules import Rule
from convscope.types import Network, Progress
from convscope.web.answers import Missing
from convscope.web.explorer.behind import Behind
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.looks import Drawn, Memory
from convscope.web.explorer.pictures import encode_png

KEPT_BYTES = 100_000_000
TOGETHER = 64  # channels whose patches are cut at once


class TopImages:
    """The images that the survey has found, once it has."""

    def __init__(self, explored: Explored, behind: Behind) -> None:
        self._explored = explored
        self._behind = behind
        self._kept = Memory(KEPT_BYTES)

    def are_found(self, layer: str) -> bool:
        """Whether the survey has found a layer's; where not, it is to. Raises Missing where there are no images."""
        self._check_searchable()
        found = layer in self._behind.surveys
        if not found:
            self._behind.want_survey(layer)
        return found

    def patch_png(self, network: Network, layer: str, channel: int) -> bytes | None:
        """The patch that excites a channel most as bare pixels; some channels' are cut at once."""
        if not self.are_found(layer):
            return None
        survey = self._behind.surveys[layer]
        first = channel - channel % TOGETHER
        found = self._kept.get(
            (layer, first, "patches"),
            lambda: self._patches(network, layer, survey, first),
            size=lambda each: sum(map(len, each)),
        )
        return found[channel - first]

    def picture(self, network: Network, layer: str, channel: int, rule: Rule, progress: Progress) -> Drawn | None:
        """The patches that excite a channel most, with reconstructions by a rule; None while there is no survey."""
        if not self.are_found(layer):
            return None
        picture = self._kept.get(
            (layer, channel, "top", rule),
            lambda: top_images(
                network,
                layer,
                channel,
                self._explored.surveyed,
                reconstructions=True,
                rule=rule,
                store=self._explored.store,
                progress=progress,
            ),
            size=lambda picture: picture.values.nbytes,
        )
        return Drawn(
            picture,
            0,
            self._explored.command("top-images", layer=layer, channel=channel, reconstructions=True, rule=rule),
        )

    def describe(
        self, network: Network, survey: LayerSurvey | None, layer: str, channel: int
    ) -> list[dict[str, Any]] | None:
        """The images that excite a channel most, with where in them and how much of them it sees."""
        if survey is None or self._explored.surveyed is None:
            return None
        field = self._field(network, layer)
        gallery = self._explored.gallery
        ids = gallery.ids(gallery.searched, survey.images[channel].tolist())
        found: list[dict[str, Any]] = []
        for image, value, (y, x) in zip(ids, survey.values[channel], survey.positions[channel], strict=True):
            rows, columns = field.rows[y].tolist(), field.columns[x].tolist()
            box = [rows[0], columns[0], rows[1], columns[1]]
            found.append(
                {
                    "id": image,
                    "label": gallery.label(image),
                    "value": float(value),
                    "box": box,
                    "position": [int(y), int(x)],
                }
            )
        return found

    def _patches(self, network: Network, layer: str, survey: LayerSurvey, first: int) -> list[bytes]:
        """The patches of some channels from the first on."""
        assert self._explored.surveyed is not None
        chosen = slice(first, first + TOGETHER)
        wanted, places = np.unique(survey.images[chosen, 0], return_inverse=True)
        half = self._explored.surveyed.train
        distinct = next(iter(half.images.batches([torch.from_numpy(wanted)])))
        field = self._field(network, layer)
        rows, columns = torch.from_numpy(survey.positions[chosen, 0]).unbind(1)
        tiles = cut(
            distinct[torch.from_numpy(places.ravel())].float() / 255,
            field.rows[rows],
            field.columns[columns],
            (longest(field.rows), longest(field.columns)),
            fill=torch.tensor(PAPER).expand(len(places), 3) / 255,
        )
        pixels = (tiles * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        return [encode_png(each) for each in pixels]

    def _field(self, network: Network, layer: str) -> ReceptiveField:
        """What each position of a layer sees of the images that are searched."""
        assert self._explored.surveyed is not None
        size = self._explored.surveyed.train.images.shape[2:]
        return self._kept.get((layer, "field"), lambda: receptive_field(network, layer, size), size=lambda _: 1000)

    def _check_searchable(self) -> None:
        if self._explored.surveyed is None:
            raise Missing("top images are searched for in a dataset or a folder of images, and there is none")
