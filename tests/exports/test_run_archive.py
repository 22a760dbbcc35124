"""A run goes through an archive bit for bit; what is no archive of a run, or hostile, leaves nothing behind."""

from __future__ import annotations

import random
import shutil
import tarfile
from pathlib import Path

import pytest

from convscope.durable import to_json
from convscope.errors import BusyError, CheckpointError, DataError, ResourceError, UsageError
from convscope.exports import run_archive
from convscope.exports.run_archive import pack_run, unpack_run
from convscope.training.folder import lock_run, read_config
from tests.faults import hostile_runs
from tests.faults.hostile_runs import CONFIG


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_run(path: Path, files: dict[str, bytes], **config: object) -> Path:
    for name, content in {**files, "run.json": to_json({**CONFIG, **config})}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def run(tmp_path) -> Path:
    files = {
        "events.jsonl": b'{"torn',
        "checkpoints/step-000000003/weights.safetensors": bytes(range(256)) * 5000,
        "film/film.json": b"{}",
        "pictures/maps-conv1-image-Größe 1.png": b"\x89PNG",
        f"maximize/{'a' * 120}/{'b' * 120}/dataset.safetensors": b"long",
        "report.html": b"",
    }
    return write_run(tmp_path / "first", files)


def test_a_run_goes_through_an_archive_bit_for_bit(run, tmp_path):
    packed = pack_run(run, tmp_path / "away" / "first.tar")
    unpacked = unpack_run(tmp_path / "away" / "first.tar", tmp_path / "there" / "again")
    assert contents(tmp_path / "there" / "again") == {
        name: content for name, content in contents(run).items() if name != ".lock"
    }
    assert (packed.files, unpacked.files) == (7, 7)
    assert packed.bytes == (tmp_path / "away" / "first.tar").stat().st_size
    assert (packed.left_out, unpacked.missing_images) == ([], "")
    assert [path.name for path in (tmp_path / "away").iterdir()] == ["first.tar"]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["again"]


def test_what_convscope_did_not_put_there_stays_there(run, tmp_path):
    for name in (
        "notes.md",
        "loggers/tensorboard.json",
        "tensorboard/events.out.tfevents.1",
        "film/x.py",
        ".owner-x",
    ):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("secret")
    (run / "film" / "link.json").symlink_to("/etc/hostname")
    packed = pack_run(run, tmp_path / "first.tar")
    out = {"notes.md", "loggers/tensorboard.json", "tensorboard/events.out.tfevents.1", "film/x.py", "film/link.json"}
    assert set(packed.left_out) == out
    assert b"secret" not in (tmp_path / "first.tar").read_bytes()
    unpack_run(tmp_path / "first.tar", tmp_path / "again")
    assert not out & contents(tmp_path / "again").keys()


def test_the_archive_tells_no_owner_and_no_date_and_any_tar_opens_it(run, tmp_path):
    pack_run(run, tmp_path / "one.tar")
    (run / "events.jsonl").touch()
    pack_run(run, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        members = archive.getmembers()
        assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in members} == {(0, 0, "", "", 0)}
        assert {each.name.split("/")[0] for each in members} == {"first"}
        assert [each.name for each in members][-2:] == ["first/run.json", "first/archive.json"]


def test_an_archive_is_never_written_over(run, tmp_path):
    (tmp_path / "first.tar").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"first\.tar is there already, and may be a run's only copy; name another"):
        pack_run(run, tmp_path / "first.tar")
    assert (tmp_path / "first.tar").read_bytes() == b"mine"


def test_a_run_that_is_being_trained_is_not_packed(run, tmp_path):
    with lock_run(run), pytest.raises(BusyError, match="is being trained by process"):
        pack_run(run, tmp_path / "first.tar")
    assert not (tmp_path / "first.tar").exists()


def test_a_damaged_run_is_not_packed(run, tmp_path):
    (run / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        pack_run(run, tmp_path / "first.tar")
    assert not (tmp_path / "first.tar").exists()


def test_a_disk_that_is_full_leaves_no_half_archive(run, tmp_path, monkeypatch):
    class Full(run_archive._Summed):
        def read(self, count: int) -> bytes:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_archive, "_Summed", Full)
    with pytest.raises(ResourceError, match=r"cannot write .*first\.tar: No space left on device"):
        pack_run(run, tmp_path / "first.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first"]


def test_nothing_is_written_over_by_an_import(run, tmp_path):
    pack_run(run, tmp_path / "first.tar")
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="there is there already; name another --out"):
        unpack_run(tmp_path / "first.tar", tmp_path / "there")
    with pytest.raises(UsageError, match=r'no archive ".*none.tar"; wanted: a \.tar that convscope export'):
        unpack_run(tmp_path / "none.tar", tmp_path / "x")


def test_every_bit_is_checked(run, tmp_path):
    pack_run(run, tmp_path / "first.tar")
    content = bytearray((tmp_path / "first.tar").read_bytes())
    content[content.index(bytes(range(256))) + 1000] ^= 1
    (tmp_path / "first.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged is first/checkpoints/step-000000003/weights\.safetensors; get it"):
        unpack_run(tmp_path / "first.tar", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_an_archive_cut_anywhere_is_refused(run, tmp_path):
    shutil.rmtree(run / "checkpoints")
    pack_run(run, tmp_path / "first.tar")
    whole = (tmp_path / "first.tar").read_bytes()
    for length in range(0, whole.rindex(b"}\n"), 512):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(DataError):
            unpack_run(tmp_path / "cut.tar", tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.tar", "first", "first.tar"]


def test_hostile_archives_are_refused_and_leave_nothing(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert hostile_runs.fault_of_sound(inner) == ""
    trials = hostile_runs.runs(random.Random(0))
    faults = {name: fault for name, content in trials if (fault := hostile_runs.fault_of(content, inner))}
    assert faults == {}
    assert len(trials) > 50
    assert sorted(path.name for path in inner.iterdir()) == ["given.tar", "sound-run", "sound.tar"]
    assert [path.name for path in tmp_path.rglob("*escaped*")] == []


def test_more_files_than_a_run_has_are_refused(run, tmp_path, monkeypatch):
    pack_run(run, tmp_path / "first.tar")
    monkeypatch.setattr("convscope.data.archive.MOST_FILES", 5)
    with pytest.raises(DataError, match="holds more than 5 files"):
        unpack_run(tmp_path / "first.tar", tmp_path / "again")


def test_a_run_is_told_where_its_images_are(tmp_path):
    dataset = {"name": f"folder:{tmp_path}/gone", "options": {"data_dir": None, "image_size": 8}}
    pack_run(write_run(tmp_path / "first", {}, dataset=dataset), tmp_path / "first.tar")
    assert unpack_run(tmp_path / "first.tar", tmp_path / "one").missing_images == f"{tmp_path}/gone"
    (tmp_path / "birds").mkdir()
    unpacked = unpack_run(tmp_path / "first.tar", tmp_path / "two", images=tmp_path / "birds")
    assert unpacked.missing_images == ""
    assert read_config(tmp_path / "two")["dataset"] == {**dataset, "name": f"folder:{tmp_path}/birds"}
    with pytest.raises(UsageError, match='no images at ".*nowhere"; wanted: the place where'):
        unpack_run(tmp_path / "first.tar", tmp_path / "three", images=tmp_path / "nowhere")


def test_downloaded_sets_have_their_archive_elsewhere_and_digits_have_none(tmp_path):
    dataset = {"name": "cifar10", "options": {"data_dir": "/gone/cifar.tar.gz", "seed": 0}}
    pack_run(write_run(tmp_path / "first", {}, dataset=dataset), tmp_path / "first.tar")
    unpack_run(tmp_path / "first.tar", tmp_path / "one", images=tmp_path)
    assert read_config(tmp_path / "one")["dataset"]["options"] == {"data_dir": str(tmp_path), "seed": 0}
    pack_run(write_run(tmp_path / "second", {}), tmp_path / "second.tar")
    with pytest.raises(UsageError, match="digits is the same on every machine; leave out --images"):
        unpack_run(tmp_path / "second.tar", tmp_path / "two", images=tmp_path)
    assert not (tmp_path / "two").exists()
