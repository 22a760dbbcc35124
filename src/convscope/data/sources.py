"""One place that a file can be had from (https, or a local file), opened at any byte."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from convscope import __version__
from convscope.errors import DataError, printable

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SourceFailed(Exception):
    """Why this source did not give the file; another one may."""


class Opened(NamedTuple):
    """A source from `offset` on, which is 0 where it cannot begin in the middle."""

    stream: Any  # what has read1: an HTTP response or a file
    offset: int
    total: int | None  # bytes of the whole file, where the source says so
    etag: str | None  # names this version of the file

    def read(self, most: int) -> bytes:
        """What has arrived, at most so many bytes; none at the end. Raises SourceFailed."""
        with _network_errors():
            return self.stream.read1(most)


def check_source(source: str) -> None:
    """Raise DataError unless the source is https, file: or a path; http is for this very machine alone.

    >>> check_source("http://example.com/a.tar.gz")
    Traceback (most recent call last):
    convscope.errors.DataError: source http://example.com/a.tar.gz: only https, file: and paths, never http
    """
    parts = urlsplit(source)
    if parts.scheme in ("https", "file") or _local_path(source) or _is_loopback(source):
        return
    raise DataError(f"source {source}: only https, file: and paths, never {parts.scheme}")


@contextmanager
def open_source(source: str, offset: int, *, etag: str | None, timeout: float) -> Generator[Opened]:
    """Open a checked source at `offset`, if it still has the version `etag`. Raises SourceFailed."""
    path = _local_path(source)
    with _network_errors():
        opened = _open_file(path, offset) if path else _open_http(source, offset, etag, timeout)
    with opened.stream:
        yield opened


def _open_file(path: Path, offset: int) -> Opened:
    stream = path.open("rb")
    total = path.stat().st_size
    return Opened(stream, stream.seek(offset if offset <= total else 0), total, None)


def _open_http(source: str, offset: int, etag: str | None, timeout: float) -> Opened:
    headers = {"User-Agent": f"convscope/{__version__}"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if etag:
            headers["If-Range"] = etag
    opener = urllib.request.build_opener(_SafeRedirects())
    try:
        response = opener.open(urllib.request.Request(source, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and offset:  # nothing from there on: begin anew
                return _open_http(source, 0, None, timeout)
            raise SourceFailed(f"HTTP {error.code} {http.client.responses.get(error.code, '')}".rstrip()) from error
    try:
        return _check_answer(response, offset)
    except SourceFailed:
        response.close()
        raise


def _check_answer(response: http.client.HTTPResponse, offset: int) -> Opened:
    if response.headers.get_content_type() == "text/html":
        raise SourceFailed("sent a web page, not the file")
    etag = response.headers.get("ETag")
    if etag and not etag.startswith('"'):  # a weak one does not vouch for every byte
        etag = None
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not span or int(span[1]) != offset:
            raise SourceFailed("answered with another part than the one asked for")
        return Opened(response, offset, int(span[2]), etag)
    length = response.headers.get("Content-Length", "")
    return Opened(response, 0, int(length) if length.isdecimal() else None, etag)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never away from https."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        if not (newurl.startswith("https:") or (_is_loopback(newurl) and _is_loopback(req.full_url))):
            fp.close()
            raise SourceFailed(f"redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_loopback(source: str) -> bool:
    parts = urlsplit(source)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def _local_path(source: str) -> Path | None:
    parts = urlsplit(source)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(source) if len(parts.scheme) < 2 else None  # "C:" is a drive


@contextmanager
def _network_errors() -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise SourceFailed("no answer in time") from error
    except urllib.error.URLError as error:
        reason = "no answer in time" if isinstance(error.reason, TimeoutError) else str(error.reason)
        raise SourceFailed(reason) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceFailed(printable(str(error)) or type(error).__name__) from error
