"""The processes that compute together, started by torchrun: which one this is, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import import_module

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from convscope.errors import ConvscopeError, Interrupted, RankLost, in_one_line, is_out_of_memory
from convscope.rank_watch import DONE, FAILED, RankWatch

PATIENCE = timedelta(hours=1)
"""How long a rank waits for the others, say while one downloads; a lost one is found much sooner, by the watch."""


class Ranks:
    """One process among `count`; each takes its share of the work and hears what the others came to.

    Every rank must call these methods in the same order. Alone, they do nothing and cost nothing.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    def share(self, size: int) -> slice:
        """Which of `size` things in a row are this rank's: all ranks' shares are as equal as can be.

        >>> [Ranks(rank, 3).share(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)

    def add_up(self, values: Tensor) -> Tensor:
        """The sum of all ranks' tensors, which are of one shape; in place."""
        if not self.alone:
            dist.all_reduce(values)
        return values

    def gather(self, values: Tensor) -> Tensor:
        """All ranks' tensors, of one shape (...), as (count, ...)."""
        if self.alone:
            return values[None]
        gathered = values.new_empty((self.count, *values.shape))
        dist.all_gather_into_tensor(gathered.view(self.count * values.numel()), values.contiguous().view(-1))
        return gathered

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """For each wish whether any rank has it."""
        if self.alone:
            return wishes
        return tuple(count > 0 for count in self.add_up(torch.tensor(wishes, dtype=torch.int32)).tolist())

    def from_leader(self, make: Callable[[], bytes]) -> bytes:
        """What rank 0 made; the others do not make it."""
        if self.alone:
            return make()
        made = make() if self.leads else b""
        values = torch.zeros(int(self.add_up(torch.tensor(len(made)))), dtype=torch.uint8)
        values[: len(made)] = torch.from_numpy(np.frombuffer(made, np.uint8).copy())
        self.copy_from_leader(values)
        return values.numpy().tobytes()

    def copy_from_leader(self, values: Tensor) -> None:
        """Make the tensor, of one shape everywhere, what it is on rank 0."""
        if not self.alone:
            dist.broadcast(values, src=0)

    @contextmanager
    def first_here(self) -> Generator[None]:
        """A block that one rank of each machine runs before the others, say because it fills a cache for all."""
        first = self.alone or os.environ.get("LOCAL_RANK") == "0"
        if not first:
            self.agree(False)
        yield
        if first:
            self.agree(False)


ALONE = Ranks()
"""What there is without torchrun."""


@contextmanager
def join_ranks() -> Generator[Ranks]:
    """Join the processes that torchrun started; alone without it.

    Within it a rank that is lost ends all others, and is named. Where gloo is what they talk through, its threads end
    after it, with the error if there was one: a thread that asks for the interpreter while that ends would abort the
    process. Those of a compiled network stay, for torch keeps it. Raises RankLost.

    >>> with join_ranks() as ranks:
    ...     ranks.count
    1
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
    import_module("torch.distributed.nn.functional")  # later, its functions would keep the group as their default
    dist.init_process_group(_backend(), store=store, rank=rank, world_size=count, timeout=PATIENCE)
    watch = RankWatch(store, rank, count)
    try:
        yield Ranks(rank, count)
    except BaseException as error:
        if _may_be_of_a_loss(error) and (lost := watch.find_lost()):
            raise RankLost(lost) from error
        stopped = isinstance(error, Interrupted)  # all ranks are, and the leader may still be saving
        watch.leave(DONE if stopped else f"{FAILED}{in_one_line(error)}")
        if _backend() == "gloo":  # NCCL would wait for what the others no longer do
            with suppress(RuntimeError):
                dist.destroy_process_group()
        raise
    else:
        watch.leave()
        dist.destroy_process_group()


def _backend() -> str:
    """What the ranks talk through."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def _may_be_of_a_loss(error: BaseException) -> bool:
    """Whether nothing here explains it: what fails for want of a lost rank does so in words and types of any kind."""
    return isinstance(error, Exception) and not isinstance(error, ConvscopeError) and not is_out_of_memory(error)
