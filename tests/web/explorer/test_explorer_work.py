"""The explorer's threads do the newest first, each on a model of its own, and leave what nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from convscope.types import Network
from convscope.web.explorer import ending, work
from convscope.web.explorer.ending import Closed, GivenUp
from convscope.web.explorer.looks import Looks
from convscope.web.explorer.work import Lane, copied
from tests.patience import PATIENCE, soon
from tests.web.tiny_explorer import exploring, tiny_explorer, tiny_network

# The explorer's lanes are stopped wherever they are, also while a file is being opened.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane(tiny_network(), name="test")
    yield lane
    lane.close()


def test_the_newest_is_done_first(lane: Lane):
    busy, free, done = threading.Event(), threading.Event(), list[str]()

    def block(network: Network) -> None:
        busy.set()
        free.wait(PATIENCE)

    first = lane.put(block)
    assert busy.wait(PATIENCE)
    waiting = [lane.put(lambda network, name=name: done.append(name)) for name in "abc"]
    free.set()
    for each in (first, *waiting):
        each.result(PATIENCE)
    assert done == ["c", "b", "a"]


def test_too_much_that_waits_costs_the_oldest(lane: Lane, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "MOST_WAITING", 2)
    busy, free, done = threading.Event(), threading.Event(), list[str]()
    lane.put(lambda network: (busy.set(), free.wait(PATIENCE)))
    assert busy.wait(PATIENCE)
    oldest, *others = (lane.put(lambda network, name=name: done.append(name)) for name in "abc")
    free.set()
    for each in others:
        each.result(PATIENCE)
    assert oldest.cancelled()
    assert done == ["c", "b"]


def test_what_nobody_waits_for_is_not_done(lane: Lane, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)
    busy, free, done = threading.Event(), threading.Event(), list[str]()
    lane.put(lambda network: (busy.set(), free.wait(PATIENCE)))
    assert busy.wait(PATIENCE)

    async def gone() -> bool:
        return True

    async def ask() -> None:
        with pytest.raises(asyncio.CancelledError):
            await lane.do(lambda network: done.append("left"), gone=gone)

    asyncio.run(ask())
    free.set()
    lane.put(lambda network: done.append("kept")).result(PATIENCE)
    assert done == ["kept"]


def test_an_error_reaches_who_asked_and_the_thread_goes_on(lane: Lane):
    def fail(network: Network) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        lane.put(fail).result(PATIENCE)
    assert lane.put(lambda network: 3).result(PATIENCE) == 3


def test_long_work_lets_others_in_between_its_parts(lane: Lane):
    done: list[str] = []
    inside = threading.Event()
    wanted = threading.Event()

    def gradient(network: Network) -> None:
        image = torch.ones(1, 3, 8, 8, requires_grad=True)
        network(image).sum().backward()
        assert image.grad is not None
        done.append("wanted")

    def work(network: Network) -> None:
        with torch.inference_mode():  # as in a survey
            done.append("begin")
            inside.set()
            wanted.wait(PATIENCE)
            lane.catch_up()
            done.append("end")

    long = lane.put(work)
    assert inside.wait(PATIENCE)
    asked = lane.put(gradient)
    wanted.set()
    long.result(PATIENCE)
    asked.result(PATIENCE)
    assert done == ["begin", "wanted", "end"]


def test_a_closed_lane_does_nothing_more():
    lane = Lane(tiny_network(), name="test")
    busy, free = threading.Event(), threading.Event()
    lane.put(lambda network: (busy.set(), free.wait(PATIENCE)))
    assert busy.wait(PATIENCE)
    later = lane.put(lambda network: 1)
    lane.close()
    free.set()
    assert later.cancelled()
    assert lane.closed


def test_closing_a_lane_ends_what_it_does():
    lane, begun = Lane(tiny_network(), name="test"), threading.Event()

    def work(network: Network) -> None:
        begun.set()
        while True:
            network(torch.zeros(1, 3, 8, 8))

    endless = lane.put(work)
    assert begun.wait(PATIENCE)
    lane.close()
    lane.join()
    assert isinstance(endless.exception(PATIENCE), Closed)
    assert lane.closed


def test_closing_a_lane_ends_long_work_too_that_let_other_work_in_between():
    lane, begun, asked = Lane(tiny_network(), name="test"), threading.Event(), threading.Event()

    def endless(network: Network) -> None:
        begun.set()
        while True:
            network(torch.zeros(1, 3, 8, 8))

    def long(network: Network) -> None:
        assert asked.wait(PATIENCE)
        lane.catch_up()
        endless(network)

    waiting = lane.put(long)
    assert soon(waiting.running)
    between = lane.put(endless)
    asked.set()
    assert begun.wait(PATIENCE)
    lane.close()
    lane.join()
    assert [type(each.exception(PATIENCE)) for each in (between, waiting)] == [Closed, Closed]


def test_a_lane_may_be_closed_at_the_moment_that_work_is_done():
    lane, known = Lane(tiny_network(), name="test"), threading.Event()

    def close(_: object) -> None:
        lane.close()  # in the lane's own thread: it is told so within the future, which has its result already

    done = lane.put(lambda network: known.wait(PATIENCE))
    done.add_done_callback(close)
    known.set()
    lane.join()
    assert done.result(PATIENCE)


def test_a_closed_lane_refuses_work_though_its_lock_is_never_given_back():
    lane, answers = Lane(tiny_network(), name="test"), []
    lane.close()
    lane.join()
    asker = threading.Thread(target=lambda: answers.append(lane.put(lambda network: 1)), daemon=True)
    with lane._changed:  # as by a thread that was told to end while it took it
        asker.start()
        asker.join(PATIENCE)
        assert [answer.cancelled() for answer in answers] == [True]


def test_who_asks_is_told_that_the_lane_has_ended():
    async def there() -> bool:
        return False

    async def ask() -> None:
        lane, begun = Lane(tiny_network(), name="test"), threading.Event()

        def work(network: Network) -> None:
            begun.set()
            while True:
                network(torch.zeros(1, 3, 8, 8))

        asked = [asyncio.create_task(lane.do(work, gone=there)) for _ in range(3)]
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        lane.close()
        asked.append(asyncio.create_task(lane.do(work, gone=there)))
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert [(type(each), str(each)) for each in told] == [(GivenUp, ending.ENDS)] * 4
        lane.join()

    asyncio.run(ask())


def test_pictures_in_flight_are_refused_when_the_explorer_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    explorer, begun = tiny_explorer(tmp_path), threading.Event()

    def endless(self: Looks, network: Network, *which: object) -> None:
        begun.set()
        while True:
            network(torch.zeros(1, 3, 8, 8))

    monkeypatch.setattr(Looks, "unit", endless)
    with exploring(explorer) as client, ThreadPoolExecutor() as pool:
        asked = [pool.submit(client.get, f"/api/images/test-0/channels/0/{channel}.png") for channel in range(4)]
        assert begun.wait(PATIENCE)
        explorer.close()
        told = [each.result(PATIENCE) for each in asked]
    assert [(each.status_code, each.json()) for each in told] == [(503, {"error": ending.ENDS})] * 4


def test_copies_share_weights_but_neither_hooks_nor_modes():
    network = tiny_network()
    other = copied(network)
    seen: list[int] = []
    other.model[0].register_forward_hook(lambda *_: seen.append(1))  # pyright: ignore
    network(torch.zeros(1, 3, 8, 8))
    assert not seen
    network.model.train()
    assert not other.model.training
    mine, its = (dict(each.model.named_parameters()) for each in (network, other))
    for name, value in mine.items():
        assert its[name].data_ptr() == value.data_ptr()
        assert (value.requires_grad, its[name].requires_grad) == (True, False)
