"""Where a live page's server is to be reached: from this machine alone, unless a person says otherwise, twice."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from convscope.errors import UsageError


class Place(NamedTuple):
    """An address of this machine."""

    family: socket.AddressFamily
    address: tuple[Any, ...]  # as a socket takes it, with a port that is not yet known
    names: tuple[str, ...]  # what stands before the port in the addresses that the server answers to, its own first
    is_open: bool  # to other machines

    def at(self, port: int) -> tuple[Any, ...]:
        """The address with a port."""
        return (self.address[0], port, *self.address[2:])


HOME = Place(socket.AF_INET, ("127.0.0.1", 0), ("127.0.0.1", "localhost"), is_open=False)


def find_place(host: str | None, *, expose: bool) -> Place:
    """The place of that name or address of this machine; where other machines reach it, `expose` must be set.

    Raises UsageError for an address without `expose`, one that stands for all of a machine's (a page could not say
    which is its own, and any site could take its place), and what is no address.

    >>> find_place("localhost", expose=False).names
    ('127.0.0.1', 'localhost')
    >>> find_place("192.0.2.7", expose=True).names
    ('192.0.2.7',)
    """
    if host is None or host.lower() == "localhost":
        return HOME
    named = host.lower().removeprefix("[").removesuffix("]")
    try:
        number = ip_address(named)
    except ValueError:
        number = None
    if number is not None and number.is_unspecified:
        raise UsageError(
            f"host {host} stands for every address; allowed: the one address or name that pages will use"
        )
    if number is None and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?", named):
        raise UsageError(f'no host "{host[:100]}"; allowed: an address or a name of this machine')
    if not expose and (number is None or not number.is_loopback):
        raise UsageError(
            f"host {host} lets other machines ask for the pages, and nothing that is sent is encrypted; "
            "allowed: localhost, or this host with --expose"
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(named, 0, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f'no host "{host[:100]}": {error}; allowed: an address or a name of this machine') from error
    return Place(family, address, (_as_named(number, named),), is_open=number is None or not number.is_loopback)


def _as_named(number: IPv4Address | IPv6Address | None, named: str) -> str:
    """The host as browsers write it."""
    return f"[{number.compressed}]" if isinstance(number, IPv6Address) else str(number or named)


def warning(address: str) -> str:
    """What a person must know who opens a place to other machines."""
    return (
        f"warning: other machines can reach {address.partition('/?')[0]}, and the connection is not encrypted: "
        "whoever listens on the way sees the token and every page"
    )
