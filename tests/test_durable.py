"""A file is there whole or not at all, and what a disk refuses is told, whoever found it out."""

import pytest

from convscope import durable
from convscope.durable import refusal_told, replace_file, write_quickly
from convscope.errors import ResourceError


@pytest.mark.parametrize("write", [replace_file, lambda path, data: write_quickly(path, [data])])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside(tmp_path, monkeypatch, write):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    write(tmp_path / "a", b"before")
    monkeypatch.setattr(durable.os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "a", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"before"


def test_a_refusal_without_a_number_is_told_in_its_own_words():
    with (
        pytest.raises(ResourceError, match="cannot pack the run: unexpected end of data; try again"),
        refusal_told("pack the run", "try again"),
    ):
        raise OSError("unexpected end of data")  # as tarfile has it
