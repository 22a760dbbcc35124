"""Kept memory: a piece that was freed is soon had again without a page fault, and goes back at the end."""

import platform
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from convscope import kept_memory as module
from convscope.kept_memory import KEPT, USUAL, keeping_memory, kept_memory

PIECES = """
import resource, psutil, torch
from convscope.kept_memory import kept_memory

SIZE = 48 * 2**20  # more than glibc would ever keep by itself
PAGES = SIZE // resource.getpagesize()

def kept():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(SIZE, dtype=torch.uint8).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < PAGES / 50

def resident():
    return psutil.Process().memory_info().rss

print(any(kept() for _ in range(5)))
before = resident()
with kept_memory():
    print(any(kept() for _ in range(20)))  # small pieces may lie behind the first few
    print(resident() - before > 0.8 * SIZE)
print(resident() - before < 0.2 * SIZE)
print(any(kept() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what it speaks to is glibc")
def test_a_piece_that_was_freed_is_there_when_it_is_wanted_again_and_goes_back_at_the_end():
    told = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "True", "True", "True", "False"]


@pytest.fixture
def told(monkeypatch):
    """What the C library is told."""
    calls: list[tuple[int, int] | str] = []
    library = SimpleNamespace(
        mallopt=lambda parameter, value: calls.append((parameter, value)),
        malloc_trim=lambda pad: calls.append("all goes back"),
    )
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: library)
    return calls


BEGUN, ENDED = [*KEPT.items()], [*USUAL.items(), "all goes back"]


def test_it_is_kept_until_the_last_one_ends(told):
    with kept_memory():
        with kept_memory():
            pass
        assert told == BEGUN
    assert told == BEGUN + ENDED


def test_a_generator_keeps_it_from_its_first_item_until_it_is_closed(told):
    @keeping_memory
    def count(first):
        yield first
        yield first + 1

    running = count(first=3)
    assert told == []
    assert next(running) == 3
    assert told == BEGUN
    running.close()
    assert told == BEGUN + ENDED
    assert list(count(5)) == [5, 6]


def test_an_error_ends_it_too(told):
    with pytest.raises(ValueError, match="why"), kept_memory():
        raise ValueError("why")
    assert told == BEGUN + ENDED


def test_threads_may_keep_it_at_once(told):
    def keep():
        for _ in range(20):
            with kept_memory():
                pass

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count("all goes back") * len(BEGUN) == sum(call in BEGUN for call in told) >= 1


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: object())
    with kept_memory():
        pass
