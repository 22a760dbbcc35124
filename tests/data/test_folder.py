"""Class folders: in memory and streamed alike, and every way in which they can be wrong."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.data import survey
from convscope.data.file_images import FileImages
from convscope.data.folder import load_folder
from convscope.data.memory import TensorImages, channel_statistics
from convscope.errors import DataError, UsageError


def pixels_of(split):
    (pixels,) = split.images.batches([torch.arange(split.images.shape[0])])
    return pixels


def fails(root, *parts, **options):
    with pytest.raises(DataError) as error:
        load_folder(root, **options)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


def truncate(path):
    path.write_bytes(path.read_bytes()[:60])


def test_folders_become_classes_and_files_pixels(photos):
    dataset = load_folder(photos)
    assert dataset.name == f"folder:{photos}"
    assert dataset.source == f"class folders in {photos}, as split by its folders"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0] * 6 + [1] * 6
    assert dataset.test.labels.tolist() == [0, 0, 1, 1]
    assert dataset.image_size == (8, 8)
    assert dataset.mirror
    assert dataset.skipped == ()
    with Image.open(photos / "train" / "dog" / "2.png") as image:
        assert np.array_equal(pixels_of(dataset.train)[8], np.asarray(image).transpose(2, 0, 1))
    assert (dataset.mean, dataset.std) == channel_statistics(pixels_of(dataset.train))


@pytest.mark.parametrize("image_size", [None, 5])
def test_a_stream_is_the_same_as_in_memory(photos, image_size):
    memory = load_folder(photos, image_size=image_size, in_memory=True)
    stream = load_folder(photos, image_size=image_size, in_memory=False)
    assert isinstance(memory.train.images, TensorImages)
    assert isinstance(stream.train.images, FileImages)
    for one, other in ((memory.train, stream.train), (memory.test, stream.test)):
        assert one.images.shape == other.images.shape
        assert torch.equal(pixels_of(one), pixels_of(other))
        assert torch.equal(one.labels, other.labels)
    for field in ("mean", "std", "fingerprint", "class_names", "source", "skipped"):
        assert getattr(memory, field) == getattr(stream, field)


def test_memory_decides_whether_images_stay_in_it(photos, monkeypatch):
    for free, kind in ((4 * 16 * 3 * 64, TensorImages), (4 * 16 * 3 * 64 - 4, FileImages)):
        monkeypatch.setattr("psutil.virtual_memory", lambda free=free: type("Memory", (), {"available": free}))
        assert isinstance(load_folder(photos).train.images, kind)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_asked_for(photos, workers):
    paths = sorted(str(path) for path in photos.glob("train/*/*.png"))
    images = FileImages(paths, 8, workers=workers)
    reference = pixels_of(load_folder(photos, in_memory=True).train)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0)).split(5)
    for asked, batch in zip(order, images.batches(iter(order)), strict=True):
        assert batch.dtype == torch.uint8
        assert torch.equal(batch, reference[asked])


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_leaves_the_random_numbers_of_the_training_alone(photos, workers):
    before = torch.get_rng_state()
    list(FileImages([str(next(photos.glob("train/*/*.png")))], 8, workers=workers).batches([torch.tensor([0])]))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_endless_order_is_drawn_only_a_little_ahead(photos):
    drawn = []

    def order():
        while True:
            drawn.append(1)
            yield torch.tensor([0, 1])

    images = FileImages(sorted(map(str, photos.glob("train/*/*.png"))), 8, workers=2)
    batches = images.batches(order())
    for _ in range(20):
        next(batches)
    assert len(drawn) < 40
    batches.close()


def test_a_file_that_vanishes_later_is_named(photos):
    dataset = load_folder(photos, in_memory=False)
    (photos / "train" / "cat" / "3.png").unlink()
    with pytest.raises(DataError, match=r"train/cat/3.png cannot be read any more \(No such file"):
        pixels_of(dataset.train)


# Sizes.


def test_one_common_size_is_kept_and_others_become_64(photos):
    assert load_folder(photos).image_size == (8, 8)
    Image.new("RGB", (9, 9)).save(photos / "train" / "cat" / "9.png")
    assert load_folder(photos).image_size == (64, 64)
    assert load_folder(photos, image_size=20).image_size == (20, 20)


@pytest.mark.parametrize(("size", "expected"), [((256, 256), 256), ((257, 257), 64), ((30, 20), 64)])
def test_only_squares_up_to_256_are_kept(tmp_path, size, expected):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", size).save(tmp_path / name / f"{number}.png")
    assert load_folder(tmp_path).image_size == (expected, expected)


def test_a_size_below_one_is_refused(photos):
    with pytest.raises(UsageError, match="an image size of 0; it must be at least 1"):
        load_folder(photos, image_size=0)


# The split of one folder.


@pytest.fixture
def pets(tmp_path):
    """One folder of class folders: 10 cats, 15 dogs, each of its own grey."""
    root = tmp_path / "pets"
    for name, count, base in (("cat", 10, 0), ("dog", 15, 100)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (8, 8), base + number).save(root / name / f"{number:02}.png")
    return root


def greys(split):
    return pixels_of(split)[:, 0, 0, 0].tolist()


def test_the_seed_decides_the_split(pets):
    first, again, other = (load_folder(pets, seed=seed) for seed in (0, 0, 1))
    assert greys(first.test) == greys(again.test) != greys(other.test)
    assert first.test.labels.tolist() == [0, 0, 1, 1, 1]
    assert sorted(greys(first.train) + greys(first.test)) == [*range(10), *range(100, 115)]
    assert all((grey >= 100) == label for grey, label in zip(greys(first.test), first.test.labels, strict=True))
    assert first.source == f"class folders in {pets}, split 80/20 by seed 0"


def test_a_class_may_be_called_train(pets):
    shutil.copytree(pets / "dog", pets / "train")
    assert load_folder(pets).class_names == ("cat", "dog", "train")


# What is not right with a folder.


def test_folders_that_do_not_fit_say_what_was_wanted(tmp_path, photos):
    wanted = "wanted: train/CLASS/IMAGE and test/CLASS/IMAGE, or CLASS/IMAGE to be split 80/20"
    fails(tmp_path / "nowhere", f"no folder {tmp_path / 'nowhere'}; {wanted}")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", f"no class folders in {tmp_path / 'empty'}", wanted)
    fails(photos / "train" / "cat", "no class folders in", wanted)
    shutil.rmtree(photos / "test")
    fails(photos, f"{photos} has train/ but no test/ with class folders; {wanted}")


def test_a_single_class_is_refused(pets):
    shutil.rmtree(pets / "dog")
    fails(pets, f"a single class folder, cat, in {pets}: at least two classes are needed")


def test_classes_of_one_half_alone_are_named(photos):
    (photos / "test" / "dog").rename(photos / "test" / "wolf")
    fails(photos, "1 classes of test/ are missing from train/: wolf; both need the same class folders")
    shutil.rmtree(photos / "test" / "wolf")
    shutil.copytree(photos / "test" / "cat", photos / "test" / "bird")
    fails(photos, "missing from train/: bird")
    (photos / "test" / "bird").rename(photos / "train" / "bird")
    shutil.copytree(photos / "train" / "dog", photos / "test" / "dog")
    fails(photos, "1 classes of train/ are missing from test/: bird")


def test_an_empty_class_tells_which_files_were_passed_over(photos):
    folder = photos / "test" / "dog"
    for path in folder.iterdir():
        path.unlink()
    fails(photos, f"no images in {folder} (files: none); read are .bmp .gif .jpeg .jpg")
    for name in ("a.txt", "b.txt", "c.svg", ".hidden.png", "README"):
        (folder / name).write_text("")
    fails(photos, f"no images in {folder} (files: 2 .txt, 1 no ending, 1 .svg); read are")


def test_a_class_with_one_image_cannot_be_split(pets):
    for path in sorted((pets / "cat").iterdir())[1:]:
        path.unlink()
    fails(pets, "1 classes have a single image, which cannot be both trained and tested on: cat; add images")


def test_hidden_and_other_files_are_passed_over(photos):
    before = load_folder(photos).fingerprint
    (photos / "train" / ".cache").mkdir()
    (photos / "train" / "notes.txt").write_text("")
    (photos / "train" / "cat" / ".hidden.png").write_text("")
    (photos / "train" / "cat" / "labels.json").write_text("")
    (photos / "train" / "cat" / "older").mkdir()
    (photos / "train" / "cat" / "gone.png").symlink_to(photos / "nowhere.png")
    assert load_folder(photos).fingerprint == before


# Broken images.


@pytest.mark.parametrize("in_memory", [True, False])
def test_broken_images_are_counted_and_the_first_five_named(photos, in_memory):
    for number in range(6):
        truncate(photos / "train" / "cat" / f"{number}.png")
    truncate(photos / "test" / "dog" / "0.png")
    fails(
        photos, f"{photos}: 7 of 16 images cannot be read: train/cat/0.png (", "train/cat/4.png (",
        "and 2 more; mend them, or leave them out with --skip-bad", in_memory=in_memory,
    )  # fmt: skip


@pytest.mark.parametrize("in_memory", [True, False])
def test_broken_images_are_left_out_on_request(photos, in_memory):
    whole = load_folder(photos)
    for place in ("train/cat/1.png", "train/dog/0.png", "test/dog/1.png"):
        truncate(photos / place)
    for _ in range(2):  # read, then remembered
        dataset = load_folder(photos, skip_bad=True, in_memory=in_memory)
        assert [line.split(" (")[0] for line in dataset.skipped] == [
            "train/cat/1.png",
            "train/dog/0.png",
            "test/dog/1.png",
        ]
        kept = [0, 2, 3, 4, 5, 7, 8, 9, 10, 11]
        assert torch.equal(pixels_of(dataset.train), pixels_of(whole.train)[kept])
        assert torch.equal(dataset.train.labels, whole.train.labels[kept])
        assert dataset.test.labels.tolist() == [0, 0, 1]
        assert (dataset.mean, dataset.std) == channel_statistics(pixels_of(dataset.train))
        fingerprint = dataset.fingerprint
    fails(photos, "3 of 16 images cannot be read", in_memory=in_memory)
    for place in ("train/cat/1.png", "train/dog/0.png", "test/dog/1.png"):
        (photos / place).unlink()
    assert load_folder(photos).fingerprint == fingerprint


def test_a_class_whose_every_image_is_broken_is_named(photos):
    for path in (photos / "test" / "dog").iterdir():
        truncate(path)
    fails(photos, "no test images of 1 of 2 classes: dog", skip_bad=True)
    for path in photos.glob("*/*/*.png"):
        truncate(path)
    fails(photos, "no train images at all", skip_bad=True)


# What is remembered for the next start.


def test_the_next_start_of_a_stream_reads_nothing(photos, monkeypatch):
    first = load_folder(photos, in_memory=False)
    monkeypatch.setattr("convscope.data.listed.take_survey", None)
    monkeypatch.setattr("convscope.data.listed.common_size", None)
    again = load_folder(photos, in_memory=False)
    for field in ("mean", "std", "fingerprint", "image_size"):
        assert getattr(again, field) == getattr(first, field)


@pytest.mark.parametrize("what", ["size", "time"])
def test_a_changed_file_is_read_again(photos, what):
    path = photos / "train" / "cat" / "0.ppm"
    Image.new("RGB", (8, 8), "red").save(path)
    status = path.stat()
    before = load_folder(photos, in_memory=False)
    Image.new("RGB", (8, 8), "lime").save(path)
    if what == "size":
        path.write_bytes(path.read_bytes() + b"!")
    later = status.st_mtime_ns + (what == "time")
    os.utime(path, ns=(status.st_atime_ns, later))
    assert load_folder(photos, in_memory=False).fingerprint != before.fingerprint


def test_a_survey_is_for_one_image_size(photos):
    load_folder(photos, in_memory=False)
    assert load_folder(photos, in_memory=False, image_size=4).image_size == (4, 4)


def test_a_spoiled_or_unwritable_memory_costs_time_only(photos, cache):
    first = load_folder(photos, in_memory=False)
    (kept,) = (cache / "surveys").iterdir()
    for spoiled in ("", "{}", "[1, 2]", json.dumps({"size": 8})):
        kept.write_text(spoiled)
        assert load_folder(photos, in_memory=False).fingerprint == first.fingerprint
    shutil.rmtree(cache)
    cache.write_text("a file in its place")
    assert load_folder(photos, in_memory=False).fingerprint == first.fingerprint


def test_progress_tells_of_every_image(photos):
    told = []
    load_folder(photos, progress=lambda *what: told.append(what))
    assert told[0] == ("looking at image sizes", 0, 16)
    assert told[-1] == ("reading images", 16, 16)


def test_progress_of_sizes_is_of_those_that_are_looked_at(photos, monkeypatch):
    told = []
    monkeypatch.setattr(survey, "LARGE", 10)
    load_folder(photos, progress=lambda *what: told.append(what))
    assert told[0] == ("looking at image sizes", 0, 10)


def test_surveys_agree_however_many_workers_take_them(photos, monkeypatch):
    from convscope.data.listing import list_images

    monkeypatch.setattr(survey, "BATCH", 5)
    listing = list_images(photos)
    alone, pair = (
        survey.take_survey(listing, 8, keep=True, progress=lambda *_: None, workers=workers) for workers in (0, 2)
    )
    assert alone[0] == pair[0]
    assert torch.equal(alone[1][0], pair[1][0])


@pytest.mark.skipif(os.name != "posix", reason="signals to a group of processes")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_to_the_whole_group_leave_the_workers_at_work(photos, name):
    script = f"""
import os, signal, sys, torch
from pathlib import Path
from convscope.data.file_images import FileImages
images = FileImages(sorted(map(str, Path({str(photos)!r}).glob("train/*/*.png"))), 8, workers=2)
batches = images.batches(torch.arange(12).split(1))
both_workers = next(batches), next(batches)
signal.signal(signal.{name}, lambda *_: print("signalled"))
os.killpg(0, signal.{name})
print(len(list(batches)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("signalled\n10\n", "", 0)
