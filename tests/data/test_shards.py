"""Tar shards: the same images as class folders, read from the middle, and every way in which they can be wrong."""

import io
import json
import os
import pickle
import tarfile
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import load_dataset
from convscope.data.file_images import FileImages
from convscope.data.folder import load_folder
from convscope.data.shards import load_shards
from convscope.errors import DataError


def pixels_of(split):
    (pixels,) = split.images.batches([torch.arange(split.images.shape[0])])
    return pixels


def png(value, size=8):
    content = io.BytesIO()
    Image.new("RGB", (size, size), (value, 255 - value, 7)).save(content, "PNG")
    return content.getvalue()


def write_tar(path, members, *, format=tarfile.PAX_FORMAT):
    """Members are (name, bytes), or a TarInfo without content."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            about = tarfile.TarInfo(member[0])
            about.size = len(member[1])
            tar.addfile(about, io.BytesIO(member[1]))
    return path


def sample(key, label, value=0):
    return [(f"{key}.png", png(value)), (f"{key}.cls", str(label).encode())]


def plant(root, *, train=(), test=(), format=tarfile.PAX_FORMAT):
    """Two small halves with both classes, and what is wanted besides."""
    sound = [*sample("a", 0, 10), *sample("b", 1, 20), *sample("c", 0, 30)]
    write_tar(root / "train-000000.tar", [*sound, *train], format=format)
    write_tar(root / "test-000000.tar", [*sample("d", 0, 40), *sample("e", 1, 50), *test], format=format)
    return root


def fails(root, *parts, **options):
    with pytest.raises(DataError) as error:
        load_shards(root, **options)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


@pytest.fixture
def sharded(photos, tmp_path):
    """The photographs once more, as two training shards and one for testing, their labels as numbers."""
    root = tmp_path / "shards"
    for half, cuts in (("train", [0, 5, 12]), ("test", [0, 4])):
        files = sorted(photos.glob(f"{half}/*/*.png"))
        for number, (first, last) in enumerate(pairwise(cuts)):
            members = []
            for place, file in enumerate(files[first:last], first):
                label = "0\n" if file.parent.name == "cat" else "1"
                members += [(f"{place:06}.png", file.read_bytes()), (f"{place:06}.cls", label.encode())]
            write_tar(root / f"{half}-{number:06}.tar", members)
    (root / "classes.txt").write_text("cat\ndog\n")
    return root


@pytest.mark.parametrize("in_memory", [True, False])
def test_shards_and_class_folders_of_the_same_images_are_the_same(photos, sharded, in_memory):
    folder, shards = load_folder(photos), load_shards(sharded, in_memory=in_memory)
    assert isinstance(shards.train.images, FileImages) is not in_memory
    for one, other in ((folder.train, shards.train), (folder.test, shards.test)):
        assert torch.equal(pixels_of(one), pixels_of(other))
        assert torch.equal(one.labels, other.labels)
    for field in ("mean", "std", "fingerprint", "class_names", "skipped"):
        assert getattr(folder, field) == getattr(shards, field)
    assert shards.name == f"shards:{sharded}"
    assert shards.source == f"3 tar shards in {sharded}, as split by their names"


def test_class_folders_in_a_tar_need_no_labels(photos, tmp_path):
    root = tmp_path / "tars"
    for half in ("train", "test"):
        files = sorted(
            photos.glob(f"{half}/*/*.png"), key=lambda file: (file.name, file.parent.name)
        )  # cats and dogs by turns
        write_tar(
            root / f"{half}-0.tar", [(f"./{file.parent.name}/{file.name}", file.read_bytes()) for file in files]
        )
    dataset = load_dataset(f"shards:{root}")
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 1] * 6
    with Image.open(photos / "train" / "dog" / "2.png") as image:
        assert np.array_equal(pixels_of(dataset.train)[5], np.asarray(image).transpose(2, 0, 1))
    write_tar(root / "test-0.tar", [("cat/1.png", png(1)), ("wolf/1.png", png(2))])
    fails(root, "1 classes of test-*.tar are missing from train-*.tar: wolf")


def test_numbers_are_names_where_no_file_gives_them(tmp_path):
    root = plant(tmp_path / "shards")
    assert load_shards(root).class_names == ("0", "1")
    (root / "classes.json").write_text(json.dumps(["cat", "dog"]))
    assert load_shards(root).class_names == ("cat", "dog")


def test_a_pattern_and_shards_without_halves_are_split_by_seed(sharded):
    train = load_shards(sharded / "train-*.tar")
    assert train.source.endswith("split 80/20 by seed 0")
    assert (len(train.train.labels), len(train.test.labels)) == (9, 3)
    streamed = load_shards(sharded / "train-*.tar", in_memory=False)
    assert torch.equal(pixels_of(train.test), pixels_of(streamed.test))


@pytest.mark.parametrize("workers", [0, 2])
def test_any_image_is_read_from_the_middle_also_by_workers(photos, sharded, workers):
    files = load_shards(sharded, in_memory=False).train.images._files
    reference = pixels_of(load_folder(photos).train)
    order = torch.tensor([11, 0, 0, 5, 4, 7])
    for asked, batch in zip(
        order.split(2), FileImages(files, 8, workers=workers).batches(order.split(2)), strict=True
    ):
        assert torch.equal(batch, reference[asked])
    assert len(pickle.dumps(files)) < 1000  # a worker that is not forked maps the index for itself
    with pickle.loads(pickle.dumps(files)).open(7) as content, Image.open(content) as image:
        assert np.array_equal(np.asarray(image).transpose(2, 0, 1), reference[7])


def test_a_training_is_the_same_to_the_last_bit(photos, sharded):
    from convscope.training.loop import train
    from convscope.types import Augmentation, Phase, Recipe

    phase = Phase("sgd", learning_rate=0.05, epochs=2)
    recipe = Recipe("tiny", "", "resnet8-tiny", (phase,), batch_size=4, augmentation=Augmentation(crop=1, flip=True))
    weights = []
    for dataset in (load_folder(photos), load_shards(sharded, in_memory=False)):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
        list(train(model, dataset, recipe, device="cpu"))
        weights.append(torch.cat([each.detach().flatten() for each in model.parameters()]))
    assert torch.equal(*weights)


# The index.


def test_the_next_start_reads_no_shard_until_one_changes(sharded, monkeypatch, cache):
    first = load_shards(sharded, in_memory=False)
    with monkeypatch.context() as patch:
        patch.setattr("convscope.data.shard_index.scan_shard", None)
        assert load_shards(sharded, in_memory=False).fingerprint == first.fingerprint
    for spoil in (lambda file: file.write_bytes(file.read_bytes()[:-1]), lambda file: file.write_bytes(b"\1" * 96)):
        for column in (cache / "shards").glob("*/offsets.bin"):
            spoil(column)
        assert torch.equal(pixels_of(load_shards(sharded, in_memory=False).train), pixels_of(first.train))
    write_tar(sharded / "train-000000.tar", [*sample("x", 0), *sample("y", 1)])
    assert len(load_shards(sharded).train.labels) == 2 + 7


def test_a_shard_that_changes_under_a_training_is_named(sharded):
    dataset = load_shards(sharded, in_memory=False)
    os.truncate(sharded / "train-000001.tar", 600)
    with pytest.raises(DataError, match=r"train-000001.tar/000005.png cannot be read any more \(the shard ends"):
        pixels_of(dataset.train)


# What is not right with shards.


def info(name, kind, **values):
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in values.items():
        setattr(member, key, value)
    return member


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("x.png", png(1))], "train-000000.tar/x (no label: KEY.cls must stand beside the image)"),
        ([("x.cls", b"1")], "train-000000.tar/x (a label without an image)"),
        ([("x.png", png(1)), ("x.cls", b"cat")], "the label 'cat' is not a number from 0 on"),
        ([("x.png", png(1)), ("x.cls", b"-1")], "the label '-1' is not a number"),
        ([("x.png", png(1)), ("x.cls", "²".encode())], "is not a number"),
        ([("x.png", png(1)), ("x.cls", b"1" * 65)], "a label of 65 bytes"),
        ([("x.png", png(1)), ("x.cls", b"4000000000")], "the label 4000000000 is above 99,999"),
        ([("x.png", png(1)), ("x.cls", b"7")], "x.png (label 7, but the 2 classes are 0 to 1)"),
        (sample("a", 1, 3), "train-000000.tar/a (comes twice)"),
        ([("x.png", png(1)), ("x.jpg", png(2)), ("x.cls", b"1")], "x (more than one image or label)"),
        ([("x.png", b""), ("x.cls", b"1")], "x.png (0 bytes, 1 to 20,000,000 are allowed)"),
        ([("x.png", b"no image"), ("x.cls", b"1")], "x.png (not a readable"),
        ([("x\ny\x1b.png", png(1))], r"train-000000.tar/x\ny\x1b (no label"),
        ([("../../etc/x.png", png(1))], "train-000000.tar/../../etc/x (no label"),
    ],
)  # fmt: skip
def test_a_sample_that_cannot_be_used_is_named_and_left_out_on_request(tmp_path, members, message):
    root = plant(tmp_path / "shards", train=members)
    (root / "classes.txt").write_text("cat\ndog\n")
    fails(root, message, "leave them out with --skip-bad")
    dataset = load_shards(root, skip_bad=True)
    assert dataset.train.labels.tolist() == [0, 1, 0]
    assert pixels_of(dataset.train)[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert len(dataset.skipped) == 1


def test_links_and_devices_are_ignored_and_counted(tmp_path):
    links = [
        info("x.png", tarfile.SYMTYPE, linkname="/etc/passwd"),
        info("y.png", tarfile.LNKTYPE, linkname="a.png"),
        info("z.png", tarfile.CHRTYPE),
        info("folder", tarfile.DIRTYPE),
    ]
    dataset = load_shards(plant(tmp_path / "shards", train=links))
    assert len(dataset.train.labels) == 3
    assert dataset.source.endswith("as split by their names, 3 links in them ignored")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_header_is_read(tmp_path, format):
    key = "/".join(["long" * 12] * (2 if format == tarfile.USTAR_FORMAT else 6)) + "/ä"
    root = plant(tmp_path / "shards", train=sample(key, 1, 60), format=format)
    assert pixels_of(load_shards(root, in_memory=False).train)[:, 0, 0, 0].tolist() == [10, 20, 30, 60]


@pytest.mark.parametrize("cut", [512 * 9 + 20, 512 * 8 + 100, 512 * 8])
def test_a_shard_that_breaks_off_keeps_what_is_whole(tmp_path, cut):
    root = plant(tmp_path / "shards")
    os.truncate(root / "train-000000.tar", cut)
    fails(root, "train-000000.tar (breaks off or is damaged at byte ", "the rest is lost")
    assert load_shards(root, skip_bad=True, image_size=8).train.labels.tolist() == [0, 1]


def test_damage_in_a_header_is_no_quiet_end(tmp_path):
    root = plant(tmp_path / "shards")
    content = bytearray((root / "train-000000.tar").read_bytes())
    content[4 * 512 + 20] ^= 1  # in the header of the second image
    (root / "train-000000.tar").write_bytes(content)
    fails(root, "breaks off or is damaged at byte 2,048")


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path):
    root = plant(tmp_path / "shards")
    pax = info("x", tarfile.XHDTYPE, size=2**33).tobuf(tarfile.GNU_FORMAT)
    with (root / "train-000000.tar").open("r+b") as file:
        file.seek(6 * 512 * 2)
        file.write(pax)
        file.truncate(2**33 + 2**20)  # sparse: it takes no space
    fails(root, "a header of 8,589,934,592 bytes")


def test_folders_and_files_that_are_no_shards(tmp_path):
    wanted = "wanted: train-*.tar and test-*.tar (or val-*.tar), or *.tar to be split 80/20"
    fails(tmp_path, f"no tar shards {tmp_path / '*.tar'}; {wanted}")
    fails(tmp_path / "train-*.tar", f"no tar shards {tmp_path / 'train-*.tar'}; {wanted}")
    root = plant(tmp_path / "shards")
    (root / "test-000000.tar").rename(root / "other.tar")
    fails(root, "2 shards, but none is called test-*.tar")
    (root / "other.tar").rename(root / "val-000000.tar")
    assert len(load_shards(root).test.labels) == 2
    (root / "val-000000.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    fails(root, "val-000000.tar is compressed, and images are read from its middle; unpack it to a plain .tar")
    for content in (b"", b"no tar" * 200):
        (root / "val-000000.tar").write_bytes(content)
        fails(root, "val-000000.tar is no tar file")
    write_tar(root / "val-000000.tar", [("readme.txt", b"nothing")])
    fails(root, f"no images in {root}: its shards have none")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "cat\ncat\n"),
        ("classes.txt", "cat\ncat \n"),
        ("classes.txt", "cat\n\n"),
        ("classes.json", '{"a": 1}'),
    ],
)
def test_names_that_cannot_be_used(tmp_path, name, text):
    root = plant(tmp_path / "shards")
    (root / name).write_text(text)
    fails(root, f"cannot use {root / name} as the names of the classes (", "wanted: one name a line")


# Large datasets, on a small scale.


@pytest.fixture
def large(monkeypatch):
    for module in ("file_images", "survey"):
        monkeypatch.setattr(f"convscope.data.{module}.LARGE", 10)
    monkeypatch.setattr("convscope.data.survey.SAMPLE", 3)


@pytest.mark.parametrize("kind", ["folder", "shards"])
@pytest.mark.usefixtures("large")
def test_of_a_large_dataset_only_a_sample_is_read(photos, sharded, kind):
    from convscope.data.memory import channel_statistics

    root = photos if kind == "folder" else sharded
    memory, stream = (
        load_dataset(f"{kind}:{root}"),
        (load_folder if kind == "folder" else load_shards)(root, in_memory=False),
    )
    assert memory.fingerprint == stream.fingerprint
    assert (memory.mean, memory.std) == (stream.mean, stream.std) == channel_statistics(pixels_of(memory.train)[::4])
    assert torch.equal(pixels_of(memory.train), pixels_of(stream.train))


@pytest.mark.usefixtures("large")
def test_a_broken_image_of_a_large_dataset_stops_it_or_is_left_out(photos):
    before = load_folder(photos, in_memory=False).fingerprint
    path = photos / "train" / "cat" / "3.png"
    path.write_bytes(b"!" * 70)
    dataset = load_folder(photos, in_memory=False)
    assert dataset.fingerprint != before  # a length changed
    with pytest.raises(DataError, match=r"cat/3.png cannot be read \(.*or leave it out with --skip-bad"):
        pixels_of(dataset.train)
    dataset = load_folder(photos, in_memory=False, skip_bad=True)
    assert len(pixels_of(dataset.train)) == 11
    assert [line[:15] for line in dataset.skipped] == ["train/cat/3.png"]
    path.unlink()
    assert load_folder(photos, in_memory=False).fingerprint == dataset.fingerprint
