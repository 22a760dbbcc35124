"""Downloads against a server on this machine that cuts, lies, stalls and redirects on demand."""

import hashlib
import http.server
import os
import re
import threading
from io import BytesIO
from urllib.request import Request

import pytest
from filelock import FileLock

from convscope.data.download import download
from convscope.data.sources import SourceFailed, _SafeRedirects, check_source, open_source
from convscope.errors import DataError, ResourceError
from tests.patience import PATIENCE, soon

CONTENT = os.urandom(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers by path; remembers each request's path and Range."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.released = threading.Event()  # ends a stall
        self.stalling = True  # until a stall has come to its end


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        getattr(self, self.path.strip("/"))()

    def log_message(self, *args):
        pass

    def answer(self, content, *, upto=None, ranges=True, etag=None, mime="application/gzip", length=True):
        """Send `content` from the Range on, but no more than `upto` bytes of it."""
        begin = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if ranges and asked and self.headers.get("If-Range") in (None, etag):
            begin = int(asked[1])
            if begin >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", mime)
        if length:
            self.send_header("Content-Length", str(len(content) - begin))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(content[begin : None if upto is None else begin + upto])

    def whole(self):
        self.answer(CONTENT)

    def cut(self):
        self.answer(CONTENT, upto=200_000, etag='"v1"')

    def cut_without_ranges(self):
        self.answer(CONTENT, upto=200_000, ranges=False)

    def whole_without_ranges(self):
        self.answer(CONTENT, ranges=False)

    def whole_without_length(self):
        self.answer(CONTENT, ranges=False, length=False)

    def changes(self):
        """A new version of the file after the first request; If-Range notices."""
        first = len(self.server.asked) == 1
        self.answer(b"old" * 100_000 if first else CONTENT, upto=100_000 if first else None, etag=f'"{first}"')

    def wrong_part(self):
        if "Range" not in self.headers:
            self.answer(CONTENT, upto=200_000)
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()

    def wrong(self):
        self.answer(CONTENT[::-1])

    def wrong_and_cut(self):
        self.answer(CONTENT[::-1], upto=0 if "Range" in self.headers else 100_000)

    def longer(self):
        self.answer(CONTENT + b"!", length=False)

    def missing(self):
        self.send_error(404)

    def page(self):
        self.answer(b"<html>Please log in</html>", mime="text/html; charset=utf-8")

    def stall(self):
        """Bring something the first time."""
        first = sum(path == self.path for path, _, _ in self.server.asked) == 1
        self.answer(CONTENT, upto=200_000 if first else 0)
        self.server.released.wait(PATIENCE)
        self.server.stalling = False

    def empty(self):
        pass

    def redirect(self):
        self.redirect_to(f"{self.server.url}/whole")

    def redirect_to_http(self):
        self.redirect_to("http://example.com/whole")

    def redirect_to_file(self):
        self.redirect_to("file:///etc/passwd")

    def redirect_to(self, place):
        self.send_response(302)
        self.send_header("Location", place)
        self.end_headers()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "kept" / "photos.tar.gz"


@pytest.fixture
def part(target):
    target.parent.mkdir()
    return target.with_name("photos.tar.gz.part")


def fetch(server, target, *paths, size=None, **options):
    sources = [path if ":" in path else f"{server.url}/{path}" for path in paths]
    download(sources, target=target, sha256=SHA256, size=size, timeout=PATIENCE, **options)


def fails(server, target, *paths, message, kind=DataError, **options):
    with pytest.raises(kind) as error:
        fetch(server, target, *paths, **options)
    assert re.search(message, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == kind.exit_code
    assert not target.exists()


def is_complete(target):
    return target.read_bytes() == CONTENT and not target.with_name(f"{target.name}.part").exists()


@pytest.mark.parametrize("path", ["whole", "whole_without_ranges", "whole_without_length", "redirect"])
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_whole_file_arrives(server, target, path, size):
    told = []
    fetch(server, target, path, size=size, progress=lambda *what: told.append(what))
    assert is_complete(target)
    total = None if path == "whole_without_length" and size is None else len(CONTENT)
    assert told[-1] == ("downloading photos.tar.gz", len(CONTENT), total)


def test_what_is_there_is_not_fetched_again(server, target):
    fetch(server, target, "whole")
    fetch(server, target, "whole")
    assert len(server.asked) == 1
    target.write_bytes(b"damaged")
    fetch(server, target, "whole")
    assert is_complete(target)


def test_a_cut_is_continued_where_it_was(server, target):
    fetch(server, target, "cut")
    assert is_complete(target)
    ranges = [(asked, version) for _, asked, version in server.asked]
    assert ranges == [(None, None)] + [(f"bytes={n}-", '"v1"') for n in (200_000, 400_000, 600_000)]


def test_what_arrived_is_kept_for_the_next_call_and_the_next_source(server, target):
    fails(server, target, "cut_without_ranges", message="the connection was cut")
    assert target.with_name("photos.tar.gz.part").read_bytes() == CONTENT[:200_000]
    fetch(server, target, "missing", "whole")
    assert is_complete(target)
    assert server.asked[-1][1] == "bytes=200000-"


def test_a_server_without_ranges_starts_over(server, target, part):
    part.write_bytes(CONTENT[:300_000])
    fetch(server, target, "whole_without_ranges")
    assert is_complete(target)


def test_a_file_that_changed_between_the_parts_starts_over(server, target):
    fetch(server, target, "changes")
    assert is_complete(target)


def test_another_part_than_asked_for_is_not_taken(server, target):
    fails(server, target, "wrong_part", message="answered with another part than the one asked for")


def test_the_next_source_is_tried_and_all_failures_are_told(server, target):
    fetch(server, target, "missing", "page", "empty", "wrong", "whole")
    assert is_complete(target)
    assert [path for path, _, _ in server.asked] == ["/missing", "/page", "/empty", "/wrong", "/whole"]
    target.unlink()
    fails(
        server, target, "missing", "page",
        message=r"^cannot download photos.tar.gz: http://127\S+/missing: HTTP 404 Not Found; "
        r"http://127\S+/page: sent a web page, not the file; run again to continue what has arrived, "
        r"give another --source, or get the file yourself and name it with --data-dir$",
    )  # fmt: skip


def test_wrong_bytes_are_thrown_away(server, target):
    fails(server, target, "wrong", message=f"sent wrong bytes, SHA-256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}")
    assert not any(file.suffix == ".part" for file in target.parent.iterdir())


def test_a_liar_that_was_cut_does_not_spoil_the_next_source(server, target):
    fetch(server, target, "wrong_and_cut", "whole")
    assert is_complete(target)
    assert [asked for path, asked, _ in server.asked if path == "/whole"] == ["bytes=100000-", None]


def test_a_part_longer_than_the_file_is_started_over(server, target, part):
    part.write_bytes(b"x" * 800_000)
    fetch(server, target, "whole", size=len(CONTENT))
    assert is_complete(target)
    target.unlink()
    part.write_bytes(b"x" * 800_000)
    fetch(server, target, "whole")
    assert is_complete(target)


def test_a_whole_part_needs_no_server(server, target, part):
    part.write_bytes(CONTENT)
    fetch(server, target, "missing", size=len(CONTENT))
    assert is_complete(target)
    assert not server.asked


def test_a_file_of_another_size_is_refused(server, target, monkeypatch):
    fails(server, target, "whole", size=900_000, message="has 700,000 bytes, wanted are 900,000")
    fails(server, target, "longer", size=len(CONTENT), message="sent more than 700,000 bytes")
    monkeypatch.setattr("convscope.data.download.MOST_BYTES", 500_000)
    fails(server, target, "whole", message="sent more than 500,000 bytes")
    assert not any(file.suffix == ".part" for file in target.parent.iterdir())


def test_a_stall_is_not_waited_out_and_the_next_source_continues(server, target, part, monkeypatch):
    def opened(source, begin, *, timeout, **keywords):
        return open_source(source, begin, timeout=0.3 if "stall" in source else timeout, **keywords)

    monkeypatch.setattr("convscope.data.download.open_source", opened)
    part.write_bytes(CONTENT[:100_000])  # where all is slow the stall brings nothing
    fetch(server, target, "stall", "whole")
    assert server.stalling
    assert is_complete(target)
    assert server.asked[-1][0] == "/whole"
    assert server.asked[-1][1].startswith("bytes=")


def test_nobody_listening_is_one_line(server, target):
    fails(server, target, "http://127.0.0.1:1/a", message="127.0.0.1:1/a: .*[Cc]onnection refused")


def test_redirects_to_anything_but_https_are_refused(server, target):
    fails(server, target, "redirect_to_http", message="redirects to http://example.com/whole, which is not https")
    fails(server, target, "redirect_to_file", message="HTTP 302 Found")


def test_even_this_machine_is_refused_after_https(server):
    ask = _SafeRedirects().redirect_request
    with pytest.raises(SourceFailed, match="which is not https"):
        ask(Request("https://example.com/a"), BytesIO(), 302, "", {}, f"{server.url}/whole")
    assert (
        ask(Request("https://example.com/a"), BytesIO(), 302, "", {}, "https://example.org/b").host == "example.org"
    )


@pytest.mark.parametrize(
    "source",
    ["http://example.com/a", "ftp://example.com/a", "http://localhost.example.com/a", "http://127.0.0.1.example/"],
)
def test_sources_that_are_not_https_are_refused_before_anything_is_asked(server, target, source):
    fails(server, target, "whole", source, message="only https, file: and paths, never (http|ftp)")
    assert not server.asked


def test_files_are_sources_too(server, target, tmp_path):
    mirror = tmp_path / "a mirror.tar.gz"
    fails(server, target, str(mirror.as_uri()), message="No such file or directory")
    mirror.write_bytes(CONTENT)
    for source in (str(mirror), mirror.as_uri()):
        check_source(source)
        download([source], target=target, sha256=SHA256)
        assert is_complete(target)
        target.unlink()
    with open_source(str(mirror), 699_990, etag=None, timeout=PATIENCE) as opened:
        assert opened.read(100) == CONTENT[699_990:]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_leaves_nothing(server, target, part):
    part.symlink_to("/dev/full")
    message = "^cannot download into .*: No space left on device; make room, or .* with --data-dir"
    fails(server, target, "whole", message=message, kind=ResourceError)
    assert not part.is_symlink()


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "photos.tar.gz"
    fails(server, target, "whole", message="^cannot download into .*: ", kind=ResourceError)


def test_a_second_download_waits_for_the_first(server, target):
    target.parent.mkdir()
    told = []
    lock = FileLock(f"{target}.lock")
    lock.acquire()
    second = threading.Thread(
        target=fetch, args=(server, target, "whole"), kwargs={"progress": lambda *what: told.append(what)}
    )
    second.start()
    soon(lambda: told)
    assert told == [("waiting for another download of photos.tar.gz", 0, None)]
    assert not server.asked
    target.write_bytes(CONTENT)  # what the first brought
    lock.release()
    second.join()
    assert not server.asked
