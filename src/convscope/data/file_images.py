"""Images that stay in their files and are decoded, by a few processes, when they are asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from convscope.data.augment import LARGE
from convscope.data.decode import Unreadable, decode_image
from convscope.data.files import Files, Paths
from convscope.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

MOST_WORKERS = 4
FEW = 1000  # so few images are decoded sooner than processes are started


class Decoded(NamedTuple):
    """A batch: the pixels of the readable images in order, and why the others are not."""

    pixels: NDArray[np.uint8]  # (B, 3, H, W)
    broken: dict[int, str]  # number of the file: reason


class FileImages:
    """Images (N, 3, size, size) uint8 that are read from their files each time."""

    def __init__(self, files: Files | Sequence[str], size: int, *, workers: int | None = None) -> None:
        self._files: Files = Paths.in_folder("", files) if isinstance(files, Sequence) else files
        self._size = size
        self._workers = workers

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        return len(self._files), 3, self._size, self._size

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each index tensor (B,) int64 the images (B, 3, H, W) uint8, in the order asked for.

        A few index tensors are drawn ahead. Raises DataError for a file that cannot be read.
        """
        asked = (index.tolist() for index in indices)
        for pixels, broken in decode_batches(self._files, self._size, asked, workers=self._workers):
            for index, reason in broken.items():
                name = self._files.name(index)
                if len(self._files) > LARGE:  # then not all were read before
                    raise DataError(f"{name} cannot be read ({reason}); mend it, or leave it out with --skip-bad")
                raise DataError(f"{name} cannot be read any more ({reason}); put it back, or start again")
            yield torch.from_numpy(pixels)


def decode_batches(
    files: Files, size: int, batches: Iterable[Sequence[int]], *, workers: int | None = None
) -> Iterator[Decoded]:
    """The files of each batch of numbers, decoded to (B, 3, size, size), in order and a few batches ahead."""
    if workers is None:
        # A handful of images asked for at once is read sooner than a pool of workers starts.
        few = isinstance(batches, Sequence) and sum(map(len, batches)) < FEW
        workers = 0 if few or len(files) < FEW else count_workers()
    yield from in_workers(_Decoder(files, size), batches, workers=workers)


def in_workers(work: Any, asked: Iterable[Any], *, workers: int) -> Iterator[Any]:
    """`work[each]` for each of what is asked, in order, made by so many processes (0: this one) a few ahead."""
    yield from DataLoader(
        work,
        sampler=asked,  # pyright: ignore[reportArgumentType] - any iterable of what __getitem__ takes
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_prepare_worker,
        generator=torch.Generator(),  # else it would draw from the global one and change the training
    )


def count_workers() -> int:
    """How many processes read: one for each core, up to MOST_WORKERS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores)


class _Decoder:
    def __init__(self, files: Files, size: int) -> None:
        self._files = files
        self._size = size

    def __getitem__(self, batch: Sequence[int]) -> Decoded:
        pixels: list[NDArray[np.uint8]] = []
        broken: dict[int, str] = {}
        for index in batch:
            try:
                pixels.append(decode_image(self._files.open(index), self._size))
            except Unreadable as reason:
                broken[index] = str(reason)
        return Decoded(np.stack(pixels) if pixels else np.empty((0, 3, self._size, self._size), np.uint8), broken)


def _as_it_is(found: Any) -> Any:
    """Leaves pixels a NumPy array: tensors would travel through shared memory, which containers keep small."""
    return found


def _prepare_worker(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which reach the whole group, to the main process: it ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
