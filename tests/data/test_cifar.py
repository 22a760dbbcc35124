"""CIFAR from planted bytes: archives, folders, and what is wrong with them."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch

from convscope.data import cifar
from convscope.data.cifar import CIFAR10, CIFAR100, load_cifar10, load_cifar100
from convscope.errors import DataError

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pack(folder, archive, *, prefix=None):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, prefix or folder.name)
    return archive


def fails(data_dir, *parts, load=load_cifar10):
    with pytest.raises(DataError) as error:
        load(data_dir=data_dir)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


def pixels_of(split):
    (pixels,) = split.images.batches([torch.arange(split.images.shape[0])])
    return pixels.numpy()


def test_planted_bytes_become_those_pixels(cifar10, planted):
    dataset = load_cifar10(data_dir=cifar10)
    assert np.array_equal(
        pixels_of(dataset.train), np.concatenate([planted(f) for f in range(5)]).reshape(-1, 3, 32, 32)
    )
    assert np.array_equal(pixels_of(dataset.test), planted(5).reshape(-1, 3, 32, 32))
    assert dataset.train.labels.tolist() == list(range(10)) * 5
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.class_names == NAMES
    assert dataset.mirror
    assert dataset.source == f"unpacked files at {cifar10}, not verified as the official bytes"
    red = planted(0)[3].reshape(3, 32, 32)[0]  # the first 1,024 bytes are red, row by row
    assert pixels_of(dataset.train)[3, 0, 1, 2] == red[1, 2] == planted(0)[3, 32 + 2]


def test_files_as_full_as_they_may_be_give_the_same(cifar10, monkeypatch):
    fingerprint = load_cifar10(data_dir=cifar10).fingerprint
    monkeypatch.setattr(cifar, "CIFAR10", CIFAR10._replace(records=10))  # what each planted file has
    assert load_cifar10(data_dir=cifar10).fingerprint == fingerprint


def test_every_form_of_data_dir_gives_the_same(cifar10, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    archive = pack(cifar10, packed / "cifar-10-binary.tar.gz")
    renamed = pack(cifar10, tmp_path / "mine.tar.gz")
    datasets = [load_cifar10(data_dir=place) for place in (cifar10, cifar10.parent, archive, packed, renamed)]
    assert len({dataset.fingerprint for dataset in datasets}) == 1
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert datasets[3].source == f"archive {archive}, SHA-256 {sha256}, not the official archive"


def test_without_data_dir_the_verified_archive_comes_from_a_source_and_is_kept(cifar10, tmp_path, monkeypatch, cache):
    archive = pack(cifar10, tmp_path / "mirror.tar.gz")
    official = CIFAR10._replace(sha256=hashlib.sha256(archive.read_bytes()).hexdigest(), size=archive.stat().st_size)
    monkeypatch.setattr(cifar, "CIFAR10", official)
    dataset = load_cifar10(sources=[str(archive)])
    assert dataset.source == "official cifar-10-binary.tar.gz (SHA-256 verified)"
    archive.unlink()
    assert load_cifar10().fingerprint == dataset.fingerprint
    assert (cache / "cifar-10-binary.tar.gz").exists()


def test_class_names_come_from_the_file_where_there_is_one(cifar10):
    (cifar10 / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    assert load_cifar10(data_dir=cifar10).class_names == tuple("abcdefghij")
    (cifar10 / "batches.meta.txt").write_text("cat\ndog\ncat\n")
    fails(cifar10, "batches.meta.txt has 2 different names in 3 lines, wanted are 10")


@pytest.fixture
def cifar100(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for file, name in enumerate(("train", "test")):
        records = np.full((100, 3074), file, np.uint8)
        records[:, 0] = np.arange(100) // 5  # coarse
        records[:, 1] = np.arange(100)  # fine
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(f"class_{n}" for n in range(100)))
    return folder


def test_cifar100_takes_the_fine_label_of_its_two(cifar100):
    dataset = load_cifar100(data_dir=cifar100)
    assert dataset.train.labels.tolist() == list(range(100))
    assert dataset.class_names[99] == "class_99"
    assert (pixels_of(dataset.train) == 0).all()
    assert (pixels_of(dataset.test) == 1).all()


def test_cifar100_needs_its_names(cifar100):
    (cifar100 / "fine_label_names.txt").unlink()
    fails(cifar100, "cifar100: missing fine_label_names.txt", "get cifar-100-binary.tar.gz again", load=load_cifar100)


def test_labels_out_of_range_are_counted_and_the_first_five_named(cifar10):
    content = bytearray((cifar10 / "data_batch_2.bin").read_bytes())
    for record in (1, 3, 4, 6, 8, 9):
        content[record * 3073] = 9 + record
    (cifar10 / "data_batch_2.bin").write_bytes(content)
    fails(
        cifar10,
        "data_batch_2.bin has 6 labels outside 0 to 9: record 1 has 10, record 3 has 12, record 4 has 13, "
        "record 6 has 15, record 8 has 17 and 1 more; get cifar-10-binary.tar.gz again",
    )


def test_a_file_cut_short_is_named(cifar10):
    file = cifar10 / "test_batch.bin"
    file.write_bytes(file.read_bytes()[:-1])
    fails(cifar10, "test_batch.bin has 30,729 bytes, which is no multiple of the 3,073 of a record")


def test_missing_files_are_named(cifar10):
    (cifar10 / "data_batch_2.bin").unlink()
    (cifar10 / "test_batch.bin").unlink()
    fails(cifar10, "missing data_batch_2.bin, test_batch.bin")


def test_an_empty_class_is_named(cifar10):
    content = bytearray((cifar10 / "test_batch.bin").read_bytes())
    content[3 * 3073] = 4
    (cifar10 / "test_batch.bin").write_bytes(content)
    fails(cifar10, "no test images of 1 of 10 classes: cat")
    (cifar10 / "test_batch.bin").write_bytes(b"")
    fails(cifar10, "no test images at all")


def test_a_file_with_too_many_records_is_not_read(cifar10):
    with (cifar10 / "test_batch.bin").open("wb") as file:
        file.truncate(10_001 * 3073)
    fails(cifar10, "test_batch.bin has 30,733,073 bytes, at most 30,730,000 are allowed")


def test_a_data_dir_without_cifar_says_what_was_wanted(tmp_path):
    fails(tmp_path / "nowhere", "no file or folder", "nowhere")
    fails(tmp_path, "no cifar10 in", "wanted: cifar-10-binary.tar.gz", "cifar-10-batches-bin/")
    (tmp_path / "cifar-10-batches-py").mkdir()
    fails(tmp_path, "cifar-10-batches-py is the pickled version, which is never opened")


def test_a_folder_in_the_place_of_a_file_is_one_line(cifar10):
    (cifar10 / "test_batch.bin").unlink()
    (cifar10 / "test_batch.bin").mkdir()
    fails(cifar10, "cannot read", "test_batch.bin: Is a directory")


# Archives that someone else may have made.


def hostile(path, *members):
    """A .tar.gz of (TarInfo or name, content) pairs."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_a_member_that_is_no_plain_file_is_refused(tmp_path, kind):
    member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    member.type, member.linkname = kind, "/etc/passwd"
    fails(hostile(tmp_path / "a.tar.gz", (member, b"")), "test_batch.bin is a link or a device, not a plain file")


@pytest.mark.parametrize("prefix", ["..", "/", "cifar-10-batches-bin/..", "./cifar-10-batches-bin", "other"])
def test_members_elsewhere_are_never_read(tmp_path, cifar10, prefix):
    before = sorted(tmp_path.rglob("*"))
    archive = pack(cifar10, tmp_path / "a.tar.gz", prefix=prefix)
    fails(archive, "missing data_batch_1.bin, data_batch_2.bin")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, archive])


def test_a_member_that_comes_twice_or_is_too_large_is_refused(tmp_path):
    name = "cifar-10-batches-bin/batches.meta.txt"
    fails(hostile(tmp_path / "a.tar.gz", (name, b"x"), (name, b"y")), "batches.meta.txt comes twice")
    fails(hostile(tmp_path / "b.tar.gz", (name, b"x" * 65_537)), "has 65,537 bytes, at most 65,536 are allowed")


def test_a_bomb_is_refused_after_its_first_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("convscope.data.archive.WHOLE_ARCHIVE", 1_000_000)
    archive = hostile(tmp_path / "a.tar.gz", ("filler", b"\0" * 3_000_000))
    assert archive.stat().st_size < 10_000
    fails(archive, "unpacks to more than 1,000,000 bytes")


def test_damaged_archives_are_one_line_each(tmp_path, cifar10):
    sound = pack(cifar10, tmp_path / "sound.tar.gz").read_bytes()
    flipped = bytearray(sound)
    flipped[len(sound) // 2] ^= 0xFF
    for name, content in (("cut", sound[: len(sound) // 2]), ("flipped", flipped), ("page", b"<html>no</html>")):
        archive = tmp_path / f"{name}.tar.gz"
        archive.write_bytes(content)
        fails(archive, f"archive {archive} cannot be read as .tar.gz", "get it again")


def test_the_official_archives_are_those_of_the_authors():
    assert CIFAR10.sha256 == "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    assert CIFAR100.sha256 == "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
    assert CIFAR10.wanted["data_batch_5.bin"] == 30_730_000
    assert CIFAR100.wanted["train.bin"] == 153_700_000
