"""Training loss and accuracy, summed where they are computed and fetched once in a while."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from convscope.errors import NumericsError
from convscope.ranks import ALONE, Ranks


def advice(phase: int) -> str:
    """What to do about numbers that are no longer finite in the phase of that number (from 0)."""
    return (
        "the checkpoint before it stands; train again with a lower learning rate: "
        f"--set phases.{phase}.learning_rate=VALUE"
    )


class Meter:
    """Means over a window of steps, fetched from the device together so that no step waits for it."""

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self.restart()

    def restart(self) -> None:
        """Begin a new window now."""
        self._losses: list[Tensor] = []  # 0-d, on the device
        self._correct: list[Tensor] = []
        self._images = 0
        self._started = time.monotonic()

    def add(self, loss: Tensor, correct: Tensor, *, images: int) -> None:
        """Count one step of that many images: this rank's part of the mean loss and of the right answers, 0-d."""
        self._losses.append(loss)
        self._correct.append(correct)
        self._images += images

    def close(self, *, step: int, phase: int, where: str) -> tuple[float, int, int, float]:
        """Loss summed over images, right answers, images and images per second since the last start.

        Raises NumericsError naming the first step whose loss is not finite; `step` is the number of steps done.
        """
        losses = self._ranks.add_up(torch.stack(self._losses)).tolist()
        bad = next((index for index, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is not None:
            first = step - len(losses) + bad + 1
            raise NumericsError(f"the loss is {losses[bad]} at step {first} ({where}); {advice(phase)}", step=first)
        images = self._images
        seconds = max(time.monotonic() - self._started, 1e-9)
        loss = sum(losses) / len(losses) * images  # every batch is equally large
        correct = self._ranks.add_up(torch.stack(self._correct).sum())
        return loss, int(correct.item()), images, images / seconds
