"""Where the explorer computes: threads beside the server's loop, each with a model of its own."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from convscope.types import Network
from convscope.web.explorer.ending import BUSY, ENDS, JOIN_SECONDS, Closed, GivenUp, interrupt

Value = TypeVar("Value")
Gone = Callable[[], Awaitable[bool]]
"""Whether whoever asked is there no more."""

LOOK_SECONDS = 0.5
MOST_WAITING = 2000


class Lane:
    """One thread that does what it is asked for, the newest first, on its own copy of a network."""

    def __init__(self, network: Network, *, name: str, behind: bool = False) -> None:
        """With `behind`, the system gives the thread only what other threads leave."""
        self.network = copied(network)
        self._waiting: list[tuple[Future[Any], Callable[[Network], Any]]] = []
        self._changed = threading.Condition()
        self._behind = behind
        self._closed = False
        self._idle = False
        self._thread = threading.Thread(target=self._work, name=f"explorer {name}", daemon=True)
        self._thread.start()

    def put(self, work: Callable[[Network], Value]) -> Future[Value]:
        """Have work(network) done before all that waits; the oldest gives way where too much does."""
        future: Future[Value] = Future()
        if self._closed:  # asked without the lock, as in close
            future.cancel()
            return future
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.pop(0)[0].cancel()
            self._waiting.append((future, work))
            self._changed.notify()
        return future

    async def do(self, work: Callable[[Network], Value], *, gone: Gone) -> Value:
        """The result of work(network), not awaited where nobody wants it any more.

        Raises GivenUp where the lane is closed, or more is asked than it can do.
        """
        future = self.put(work)
        wrapped = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait({wrapped}, timeout=LOOK_SECONDS))[0] and not self._closed:
                if await gone():
                    raise asyncio.CancelledError
            if wrapped.done() and not wrapped.cancelled() and not isinstance(wrapped.exception(), Closed):
                return wrapped.result()
            raise GivenUp(ENDS if self._closed else BUSY)
        finally:
            wrapped.cancel()
            future.cancel()

    def catch_up(self) -> None:
        """Do now what waits: long work of this thread calls it between its parts."""
        while (taken := self._take(wait=False)) is not None:
            with torch.inference_mode(False), torch.enable_grad():
                _settle(*taken, self.network)

    @property
    def closed(self) -> bool:
        """Whether long work is to end."""
        return self._closed

    def close(self) -> None:
        """Take on nothing more, and give up what is being done."""
        if self._closed:  # asked without the lock: a thread that is told to end while it takes it keeps it for ever
            return
        with self._changed:
            if not self._idle:
                interrupt(self._thread)
            self._closed = True
            for future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify()

    def join(self) -> None:
        """Wait until the thread has ended, once the lane is closed."""
        self._thread.join(JOIN_SECONDS)

    def _take(self, *, wait: bool) -> tuple[Future[Any], Callable[[Network], Any]] | None:
        """What is to be done next; None when the lane is closed, or nothing waits."""
        with self._changed:
            self._idle = wait
            while wait and not self._waiting and not self._closed:
                self._changed.wait()
            self._idle = False
            return self._waiting.pop() if self._waiting and not self._closed else None

    def _work(self) -> None:
        """What the thread does."""
        torch.set_num_threads(1)  # two threads that share the cores' workers wait for each other
        if self._behind and hasattr(os, "setpriority"):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        with suppress(Closed):
            while (taken := self._take(wait=True)) is not None:
                _settle(*taken, self.network)


def _settle(future: Future[Any], work: Callable[[Network], Any], network: Network) -> None:
    """Do the work, unless nobody waits for it any more. Raises Closed, which may come at any step."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work(network))
    except BaseException as error:  # also what ends a thread: whoever waits must be told
        if not future.done():
            future.set_exception(error)
        if isinstance(error, Closed):  # long work that let this in between is to end too
            raise


def copied(network: Network) -> Network:
    """The network with a model of its own, whose hooks and modes are nobody else's; the weights are shared.

    >>> from convscope.types import Network
    >>> network = Network(nn.Conv2d(3, 4, 3), (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny")
    >>> other = copied(network).model
    >>> other is network.model, other.weight is network.model.weight
    (False, False)
    >>> other.weight.data_ptr() == network.model.weight.data_ptr()
    True
    """
    shared: dict[int, Any] = {
        id(each): nn.Parameter(each.detach(), requires_grad=False) for each in network.model.parameters()
    }
    return replace(network, model=copy.deepcopy(network.model, shared).eval())
