"""What the live pages' routes share: numbers read from addresses, answers as JSON and PNG, errors in one line."""

from __future__ import annotations

import re
from typing import Any

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from convscope.errors import ConvscopeError, UsageError
from convscope.web.event_stream import json_bytes
from convscope.web.guard import refuse

EVERYWHERE = 1e300


class Missing(ConvscopeError):
    """What was asked for is not there."""


class Number(Convertor[int]):
    """A whole number in a path, not so long that reading it would fail or take time."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        """Read it."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Write it."""
        return str(value)


register_url_convertor("number", Number())


def whole_number(request: Request, name: str, default: int, allowed: range) -> int:
    """A whole number in the address. Raises UsageError."""
    text = request.query_params.get(name, str(default))
    if re.fullmatch(r"[0-9]{1,15}", text) and int(text) in allowed:
        return int(text)
    raise UsageError(f'{name} "{text[:30]}"; allowed: a whole number from {allowed[0]} to {allowed[-1]}')


def number(request: Request, name: str, default: float) -> float:
    """A number in the address. Raises UsageError."""
    text = request.query_params.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if abs(value) <= EVERYWHERE:
        return value
    raise UsageError(f'{name} "{text[:30]}"; allowed: a number')


def as_json(values: Any, *, status: int = 200) -> Response:
    """An answer as JSON; NaN becomes null."""
    return Response(json_bytes(values), status, media_type="application/json")


def as_png(data: bytes) -> Response:
    """An answer as PNG."""
    return Response(data, media_type="image/png")


async def tell_error(request: Request, error: Exception) -> Response:
    """An error that was foreseen."""
    return refuse(str(error), status=404 if isinstance(error, Missing) else 400)


async def tell_http_error(request: Request, error: Exception) -> Response:
    """An address that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return refuse("there is nothing at this address", status=status)


async def tell_bug(request: Request, error: Exception) -> Response:
    """An error that was not."""
    return refuse(f"unforeseen {type(error).__name__}; please report it", status=500)
