"""Named files out of a tar archive that nobody has to trust: nothing is unpacked, nothing else is read."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from convscope.data.tar_headers import Member
from convscope.errors import DataError

WHOLE_ARCHIVE = 400_000_000  # bytes unpacked; the largest official archive has 185 million


def read_members(archive: Path, wanted: Mapping[str, int]) -> dict[str, bytes]:
    """The content of those members of a .tar.gz that `wanted` names, each with the most bytes it may have.

    Names are compared as a whole, so `..` and absolute paths never match; every other member is passed over.
    Members that are missing are missing from the result. Raises DataError for a broken archive, a wanted
    member that is a link or a device, comes twice or is too large, and an archive that unpacks to more than
    WHOLE_ARCHIVE bytes.
    """
    found: dict[str, bytes] = {}
    try:
        with _Capped(archive) as unpacked, tarfile.open(fileobj=unpacked, mode="r|", tarinfo=Member) as tar:
            for member in tar:
                if member.name not in wanted:
                    continue
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                    raise DataError(f"archive {archive}: {member.name} is a link or a device, not a plain file")
                if member.name in found:
                    raise DataError(f"archive {archive}: {member.name} comes twice")
                if member.size > wanted[member.name]:
                    raise DataError(
                        f"archive {archive}: {member.name} has {member.size:,} bytes, "
                        f"at most {wanted[member.name]:,} are allowed"
                    )
                content = tar.extractfile(member)
                found[member.name] = content.read() if content else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"archive {archive} cannot be read as .tar.gz ({error or type(error).__name__}); get it again"
        ) from error
    return found


class _Capped(gzip.GzipFile):
    """An archive that refuses to unpack to more than WHOLE_ARCHIVE bytes, so that a bomb stays small."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell() > WHOLE_ARCHIVE:
            raise DataError(f"archive {self.name} unpacks to more than {WHOLE_ARCHIVE:,} bytes; it is not read")
        return content
