"""Downloads from a server of our own that cuts, lies, stalls and redirects; each ends whole, or says why not."""

from __future__ import annotations

import hashlib
import http.server
import math
import random
import threading
from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from convscope.data.download import download
from convscope.data.sources import Opened, open_source
from convscope.errors import DataError
from tests.faults.harness import Tally, complaints
from tests.patience import PATIENCE

BYTES = 300_000
SHORT = 0.5
"""Seconds after which a source that keeps silent is given up; those that answer have all the time they want."""


class Answers(http.server.BaseHTTPRequestHandler):
    """Does what stands in the server's list for the path that is asked for; the last of it again and again."""

    server: Server

    def do_GET(self) -> None:
        acts = self.server.acts[self.path]
        self.dice = random.Random(f"{self.path} {len(acts)} {self.headers.get('Range')}")
        self.content = self.server.content
        (acts.pop(0) if len(acts) > 1 else acts[0])(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def send(
        self,
        content: bytes,
        *,
        share: float = 1.0,
        ranges: bool = True,
        length: int | None = None,
        kind: str = "gzip",
    ) -> None:
        """The content from the Range on, but only that share of what is left."""
        asked = self.headers.get("Range", "") if ranges else ""
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if asked and begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        left = content[begin:]
        self.send_header("Content-Type", f"application/{kind}" if "/" not in kind else kind)
        self.send_header("Content-Length", str(len(left) if length is None else length))
        self.end_headers()
        self.wfile.write(left[: math.ceil(len(left) * share)])


class Server(http.server.ThreadingHTTPServer):
    """Holds the content, and the acts of each path."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.content = content
        self.acts: dict[str, list[Act]] = {}
        self.released = threading.Event()  # ends what stalls


Act = Callable[[Answers], None]


def sound(to: Answers) -> None:
    to.send(to.content)


def cut(to: Answers) -> None:
    to.send(to.content, share=to.dice.uniform(0.05, 0.95))


def cut_at_once(to: Answers) -> None:
    to.send(to.content, share=0)


def cut_and_never_continued(to: Answers) -> None:
    to.send(to.content, share=0.4, ranges=False)


def stalled(to: Answers) -> None:
    to.send(to.content, share=0.97)
    to.server.released.wait(PATIENCE)


def silent(to: Answers) -> None:
    to.server.released.wait(PATIENCE)


def hung_up(to: Answers) -> None:
    del to


def wrong_length(to: Answers) -> None:
    to.send(to.content + b"more than there is", length=BYTES + 18)


def too_short(to: Answers) -> None:
    to.send(to.content[: BYTES // 2], ranges=False)


def wrong_bytes(to: Answers) -> None:
    place = to.dice.randrange(BYTES)
    to.send(to.content[:place] + bytes([to.content[place] ^ 1]) + to.content[place + 1 :])


def other_part(to: Answers) -> None:
    to.send_response(206)
    to.send_header("Content-Range", f"bytes 7-{BYTES - 1}/{BYTES}")
    to.end_headers()
    to.wfile.write(to.content[7:])


def page(to: Answers) -> None:
    to.send(b"<html>Please log in</html>", kind="text/html", ranges=False)


def not_found(to: Answers) -> None:
    to.send_error(404)


def overloaded(to: Answers) -> None:
    to.send_error(503)


def babble(to: Answers) -> None:
    to.wfile.write(to.dice.randbytes(200))


def to_plain_http(to: Answers) -> None:
    _redirect(to, "http://example.com/archive.gz")


def to_a_file(to: Answers) -> None:
    _redirect(to, "file:///etc/passwd")


def in_circles(to: Answers) -> None:
    _redirect(to, to.path)


def _redirect(to: Answers, place: str) -> None:
    to.send_response(302)
    to.send_header("Location", place)
    to.end_headers()


FAULTS: dict[Act, bool] = {
    cut: True,
    stalled: True,
    cut_at_once: False,
    cut_and_never_continued: False,
    silent: False,
    hung_up: False,
    wrong_length: False,
    too_short: False,
    wrong_bytes: False,
    other_part: False,
    page: False,
    not_found: False,
    overloaded: False,
    babble: False,
    to_plain_http: False,
    to_a_file: False,
    in_circles: False,
}
"""What a source does, and whether it brings something new each time, so that it is asked again until all is there."""


ASKED_ONCE_MORE = {cut_and_never_continued, in_circles}
"""What brings something the first time, or asks for another try itself."""


class Trial(NamedTuple):
    """What the sources do, one after the other, and whether the file must arrive."""

    name: str
    sources: list[list[Act]]
    arrives: bool
    size_known: bool


def trial(number: int, seed: int) -> Trial:
    """The trial of that number: every fault alone for ever, once, and before a sound source; then several mixed."""
    size_known = number % 2 == 0
    kinds = list(FAULTS)
    arrangement, kind = divmod(number, len(kinds))
    fault = kinds[kind]
    name = fault.__name__
    if arrangement == 0:
        return Trial(f"{name} for ever", [[fault]], FAULTS[fault], size_known)
    if arrangement == 1:
        return Trial(f"{name} once", [[fault, sound]], FAULTS[fault] or fault in ASKED_ONCE_MORE, size_known)
    if arrangement == 2:
        return Trial(f"{name}, then another source", [[fault], [sound]], True, size_known)
    dice = random.Random(f"{seed} {number}")
    sources = [dice.choices(kinds, k=dice.randint(1, 3)) for _ in range(dice.randint(1, 3))]
    text = "; ".join(", ".join(act.__name__ for act in acts) for acts in sources)
    return Trial(f"{text}; sound", [*sources, [sound]], True, size_known)


@contextmanager
def serving(seed: int) -> Generator[Server]:
    """The server, on the loopback."""
    with (
        mock.patch.dict("os.environ", {"no_proxy": "127.0.0.1"}),
        Server(random.Random(seed).randbytes(BYTES)) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def fault_of(server: Server, tried: Trial, folder: Path) -> str:
    """What went wrong with a trial, and with the download after it; empty where nothing did."""
    target = folder / "archive.gz"
    for index, acts in enumerate(tried.sources):
        server.acts[f"/{folder.name}/{index}"] = list(acts)
    server.acts["/sound"] = [sound]
    where = f"http://127.0.0.1:{server.server_port}"
    sources = [f"{where}/{folder.name}/{index}" for index in range(len(tried.sources))]
    slow = {source for source, acts in zip(sources, tried.sources, strict=True) if {silent, stalled} & {*acts}}
    told = fetch(server, sources, target, size_known=tried.size_known, slow=slow)
    wrong = complaints(
        (not told or not target.exists(), "something is in place of what failed"),
        (bool(told) or target.read_bytes() == server.content, "what is in place is not the file"),
        (not told or not tried.arrives, f"did not arrive: {told}"),
        (bool(told) or tried.arrives, "arrived, though it could not"),
        (not told or all(source in told for source in sources), f"not every source is told of: {told}"),
        (not told or ("\n" not in told and "run again to continue" in told), f"no clear line: {told}"),
        (not told or not (set(left(folder)) - {"archive.gz.part"}), f"leaves {left(folder)}"),
        (bool(told) or left(folder) == ["archive.gz"], f"leaves {left(folder)} beside the file"),
    )
    again = fetch(server, [f"{where}/sound"], target, size_known=tried.size_known)
    return wrong or (f"does not go on: {again}" if again or target.read_bytes() != server.content else "")


def fetch(server: Server, sources: list[str], target: Path, *, size_known: bool, slow: Collection[str] = ()) -> str:
    """Download; what the error of exit code 3 says, empty where the file arrived."""

    def opened(source: str, begin: int, *, timeout: float, **keywords: Any) -> AbstractContextManager[Opened]:
        return open_source(source, begin, timeout=SHORT if source in slow else timeout, **keywords)

    try:
        with mock.patch("convscope.data.download.open_source", opened):
            download(
                sources,
                target=target,
                sha256=hashlib.sha256(server.content).hexdigest(),
                size=BYTES if size_known else None,
                timeout=PATIENCE,
            )
    except DataError as error:
        assert error.exit_code == 3
        return str(error)
    return ""


def left(folder: Path) -> list[str]:
    """The files there; locks aside."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def soak(folder: Path, *, count: int = 100, seed: int = 0) -> Tally:
    """Try so many broken downloads."""
    tally = Tally("broken downloads")
    arrived = 0
    with serving(seed) as server:
        for number in range(count):
            tried = trial(number, seed)
            place = folder / f"download-{number}"
            place.mkdir()
            failure = fault_of(server, tried, place)
            arrived += tried.arrives
            tally.count("arrives" if tried.arrives else "exit 3", f"{tried.name}: {failure}" if failure else "")
    tally.remarks.append(
        f"{arrived} had to arrive and {count - arrived} to fail; each was whole after one more call."
    )
    return tally
