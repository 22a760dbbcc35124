"""Files of torch.save: the tensors of honest ones, and nothing of any other."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file

from convscope.errors import CheckpointError
from convscope.models import build_model
from convscope.models.pickled import keep_as_safetensors


def saved(path, value, **options):
    torch.save(value, path, **options)
    return path


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"epoch": 3, "state_dict": w}, lambda w: {"model": dict(w)}])
def test_the_tensors_of_an_honest_file_are_kept(tmp_path, wrap):
    weights = build_model("resnet8", class_count=10, seed=1).state_dict()
    kept = keep_as_safetensors(saved(tmp_path / "w.pt", wrap(weights)), tmp_path / "kept")
    found = load_file(kept)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert keep_as_safetensors(tmp_path / "w.pt", tmp_path / "kept") == kept
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_parameters_views_and_tied_weights_are_tensors_too(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    given = OrderedDict(
        a=shared, b=shared, c=torch.nn.Parameter(torch.ones(3)), d=shared.T, e=torch.ones(2).bfloat16()
    )
    found = load_file(keep_as_safetensors(saved(tmp_path / "w.pt", given), tmp_path))
    assert all(torch.equal(found[name], value.data) for name, value in given.items())


class Code:
    def __reduce__(self):
        return os.system, ("touch ran",)


def archive(members, *, how=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as written:
        for name, data in members:
            written.writestr(name, data)
    return content.getvalue()


def test_every_other_file_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = saved(tmp_path / "whole.pt", OrderedDict(a=torch.arange(4.0)))
    with zipfile.ZipFile(whole) as read:
        members = [(name, read.read(name)) for name in read.namelist()]
    doubled = [*members, ("whole/DATA.pkl", members[0][1])]
    for content, message in (
        (pickle.dumps(Code(), protocol=2), "no file of torch.save"),
        (archive([("archive/data.pkl", pickle.dumps(Code(), protocol=2))]), "it names posix.system"),
        (archive([("archive/data.pkl", pickle.dumps(Code(), protocol=4))]), "it names STACK_GLOBAL"),
        (
            archive([("archive/data.pkl", pickle.dumps(bytearray(9), protocol=2))]),
            "names (__builtin__|builtins).bytearray",
        ),
        (archive(doubled), "a member comes twice"),
        (archive([*members, ("archive/more.pkl", b"N.")]), "2 pickles, wanted is one"),
        (archive(members, how=zipfile.ZIP_DEFLATED), "it is compressed"),
        (whole.read_bytes()[:-30], "no file of torch.save"),
        (
            saved(tmp_path / "x", {"a": torch.zeros(1).expand(10**6, 10**6)}).read_bytes(),
            "unpacks to 4,000,000,000,000",
        ),
        (saved(tmp_path / "x", {"a": "text"}).read_bytes(), "holds a str under 'a'"),
        (saved(tmp_path / "x", [torch.zeros(1)]).read_bytes(), "no tensors by name"),
        (saved(tmp_path / "x", torch.nn.ReLU()).read_bytes(), "it names torch.nn.modules.activation.ReLU"),
        (saved(tmp_path / "x", {"a": torch.ones(2)}, _use_new_zipfile_serialization=False).read_bytes(), "torch 1.6"),
    ):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as error:
            keep_as_safetensors(tmp_path / "w.pt", tmp_path / "kept")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "kept").exists()
    assert not (tmp_path / "ran").exists()
    with pytest.raises(CheckpointError, match="cannot read"):
        keep_as_safetensors(tmp_path / "none.pt", tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "w.pt").open("wb") as file:
        file.truncate(2_000_000_001)
    with pytest.raises(CheckpointError, match="2,000,000,001 bytes, at most 2,000,000,000 are allowed"):
        keep_as_safetensors(tmp_path / "w.pt", tmp_path)
