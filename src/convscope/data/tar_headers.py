"""Headers in a tar file, which may claim anything: what would take memory or time without end is refused."""

from __future__ import annotations

import tarfile
from typing import Any, NoReturn

HEADER_BYTES = 2**20
"""An extended header longer than this is no header."""

EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Member(tarfile.TarInfo):
    """A member for `tarfile.open(tarinfo=Member)`; reading one that claims too much raises ReadError."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Member:
        """The member of a header's bytes."""
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in EXTENDED and member.size > HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member

    def _proc_gnusparse_10(self, *_: object) -> NoReturn:
        """Refuse a map of holes: tarfile would read as many numbers as it claims to have."""
        raise tarfile.ReadError("a sparse file")
