"""Files of weights made to harm whoever opens them: safetensors whose headers lie, and pickles with code."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from convscope.models import build_model
from tests.faults.mistakes import call
from tests.faults.payloads import CANARY, CallsSystem

MODEL = "resnet8"
FIRST = "conv1.weight"


def sound_weights() -> dict[str, torch.Tensor]:
    """The weights of a network of ours, for ten classes as `convscope layers resnet8` makes it."""
    return build_model(MODEL, class_count=10, seed=0).state_dict()


def framed(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file of a header and data; `length` is what it claims of the header."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def safetensors(dice: random.Random) -> list[tuple[str, bytes]]:
    """Files that are called .safetensors, by name; none of them may be taken."""
    whole = save(sound_weights())
    size = int.from_bytes(whole[:8], "little")
    known: dict[str, Any] = json.loads(whole[8 : 8 + size])
    data = whole[8 + size :]
    entry = known[FIRST]
    begin, end = entry["data_offsets"]

    def lying(**changes: Any) -> bytes:
        return framed(json.dumps(known | {FIRST: entry | changes}).encode(), data)

    def without(key: str) -> bytes:
        rest = {name: value for name, value in entry.items() if name != key}
        return framed(json.dumps(known | {FIRST: rest}).encode(), data)

    shape = entry["shape"]
    found = [
        (f"a header that claims {length:,} bytes", framed(b"{}", length=length))
        for length in (3, 10_000_000, 10_000_001, 100_000_000, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
    ]
    found += [
        (f"offsets {offsets}", lying(data_offsets=offsets))
        for offsets in (
            [begin + 4, end + 4], [begin, end + 4], [end, begin], [-4, end - begin - 4], [begin, 1 << 62], [begin],
            [1 << 64, (1 << 64) + end], [begin, end, end], ["0", "4"], [0.5, 4.5], None, {}, [begin + 1, end], [0, 0],
            [len(data), len(data) + end - begin], [begin, (1 << 64) - 1],
        )
    ]  # fmt: skip
    found += [
        (f"shape {given!r:.40}", lying(shape=given))
        for given in (
            [-1, *shape[1:]], [*shape, 2], shape[1:], [1 << 32, 1 << 32], [1 << 63, 2], [0], "16", None, [1.5],
            [*shape[:3], "3"], [1] * 100_000, [[1]], [True, *shape[1:]], [1 << 70],
        )
    ]  # fmt: skip
    found += [
        (f"type {given!r}", lying(dtype=given))
        for given in ("F64", "F16", "I32", "U8", "BOOL", "C64", "F8_E8M0", "F4", "f32", "O", "", None, 7, "F32\0")
    ]
    found += [(f"no {key}", without(key)) for key in ("dtype", "shape", "data_offsets")]
    found += [
        ("two tensors in one place", framed(json.dumps(known | {"bn1.weight": entry}).encode(), data)),
        ("bytes that nothing names", framed(json.dumps(known).encode(), data + bytes(64))),
        ("bytes that are missing", framed(json.dumps(known).encode(), data[:-64])),
        ("a name twice", framed(json.dumps(known)[:-1].encode() + b', "conv1.weight": 7}', data)),
        ("notes that are none", framed(json.dumps(known | {"__metadata__": {"a": 1}}).encode(), data)),
        ("a list", framed(b"[]")),
        ("no JSON", framed(b"{" * 2000)),
        ("brackets in brackets", framed(b"[" * 1_000_000)),
        ("ten megabytes of spaces", framed(b"{" + b" " * 11_000_000 + b"}")),
        ("half a million empty tensors", framed(_crowd())),
        ("no header", whole[:7]),
        ("nothing", b""),
        ("noise", dice.randbytes(9000)),
        ("its half", whole[: len(whole) // 2]),
        ("other names", save({f"{name}!": value for name, value in sound_weights().items()})),
        ("another shape", save(sound_weights() | {FIRST: torch.zeros(16, 3, 5, 5)})),
        ("whole numbers", save(sound_weights() | {FIRST: torch.zeros(16, 3, 3, 3, dtype=torch.int32)})),
        ("complex numbers", save(sound_weights() | {FIRST: torch.zeros(16, 3, 3, 3, dtype=torch.complex64)})),
        ("a pickle under another name", pickle.dumps(CallsSystem())),
    ]
    return found


def _crowd() -> bytes:
    each = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return ("{" + ",".join(each % number for number in range(500_000)) + "}").encode()


def archive(members: Mapping[str, bytes], *, how: int = zipfile.ZIP_STORED) -> bytes:
    """The members as torch.save would pack them."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", how) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return written.getvalue()


def saved(value: Any, **options: Any) -> bytes:
    """What torch.save makes of it."""
    written = io.BytesIO()
    torch.save(value, written, **options)
    return written.getvalue()


def pickles() -> list[tuple[str, bytes]]:
    """Pickles that run code, or take all memory, when they are opened as pickles are."""
    shell = f"touch {CANARY}".encode()
    python = f"open('{CANARY}','w')".encode()
    found = [(f"code by protocol {each}", pickle.dumps(CallsSystem(), protocol=each)) for each in range(6)]
    found += [
        (f"code by {module}.{name}", b"c%s\n%s\n(S'%s'\ntR." % (module, name, given))
        for module, name, given in (
            (b"os", b"system", shell),
            (b"posix", b"system", shell),
            (b"subprocess", b"getoutput", shell),
            (b"builtins", b"exec", python.replace(b"'", b'"')),
            (b"__builtin__", b"eval", python.replace(b"'", b'"')),
            (b"torch", b"load", shell),
            (b"torch.serialization", b"load", shell),
            (b"torch.storage", b"_load_from_bytes", pickle.dumps(CallsSystem(), protocol=0).replace(b"\n", b"\\n")),
            (b"torch._utils", b"_rebuild_from_type_v2", shell),
            (b"torch.hub", b"load", shell),
            (b"numpy", b"load", shell),
            (b"pickle", b"loads", shell),
            (b"runpy", b"run_path", shell),
            (b"webbrowser", b"open", shell),
            (b"importlib", b"import_module", b"os"),
            (b"convscope.cli", b"main", shell),
        )
    ]
    found += [
        ("code by INST", b"(S'%s'\nios\nsystem\n." % shell),
        ("code by OBJ", b"(cos\nsystem\nS'%s'\no." % shell),
        ("code by NEWOBJ", b"\x80\x02cos\nsystem\n(S'%s'\nt\x81." % shell),
        ("code by an extension", b"\x80\x02\x82\x01(t R."),
        ("code behind tensors", b"\x80\x02ccollections\nOrderedDict\n(tR0cos\nsystem\n(S'%s'\ntR." % shell),
        ("ten gigabytes of bytearray", b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R."),
        ("a string that claims four gigabytes", b"\x80\x02X\xff\xff\xff\xff" + b"x" * 100 + b"."),
        ("a number of a gigabyte", b"\x80\x02\x8b\x00\x00\x00\x40" + bytes(100) + b"."),
        ("brackets in brackets", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
        ("no end", b"\x80\x02}q\x00"),
        ("nothing", b""),
        ("noise", bytes(range(256))),
    ]
    return found


def pickled(dice: random.Random) -> list[tuple[str, bytes]]:
    """Files that are called .pt, by name; none of them may be taken, also where .pt is allowed."""
    whole = saved(OrderedDict(sound_weights()))
    with zipfile.ZipFile(io.BytesIO(whole)) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    key = next(name for name in members if name.endswith("data.pkl"))
    code = pickle.dumps(CallsSystem(), protocol=2)
    found: list[tuple[str, bytes]] = []
    for name, content in pickles():
        found.append((f"{name}, packed", archive(members | {key: content})))
    found += [(f"{name}, bare", content) for name, content in pickles()[:8]]
    old = io.BytesIO()
    with tarfile.open(fileobj=old, mode="w") as tar:
        about = tarfile.TarInfo("pickle")
        about.size = len(code)
        tar.addfile(about, io.BytesIO(code))
    numbers = max(members, key=lambda name: len(members[name]))
    stretched = torch.zeros(1).expand(1000, 1000)
    found += [
        ("as before torch 1.6", saved({"a": torch.ones(3)}, _use_new_zipfile_serialization=False)),
        ("as before torch 0.1", old.getvalue()),
        ("a whole network", saved(build_model(MODEL, class_count=10, seed=0))),
        ("a bomb that unpacks", archive(members | {numbers: bytes(200_000_000)}, how=zipfile.ZIP_DEFLATED)),
        ("a bomb of one number", saved({"a": torch.zeros(1).expand(1 << 20, 1 << 20)})),
        ("many bombs of one number", saved({str(number): stretched[number % 9 :] for number in range(2000)})),
        ("a second pickle", archive(members | {"archive/more.pkl": code})),
        ("a second pickle in capitals", archive(members | {key.upper(): code})),
        ("a network of TorchScript", archive(members | {"archive/constants.pkl": code})),
        ("names that lead out", archive({f"../../{name}": content for name, content in members.items()})
         .replace(b"data.pkl", b"data.pk1")),
        ("numbers that are missing", archive({name: data for name, data in members.items() if name != numbers})),
        ("numbers cut off", archive(members | {numbers: members[numbers][:9]})),
        ("its half", whole[: len(whole) // 2]),
        ("its end", whole[len(whole) // 2 :]),
        ("numbers by no name", saved([torch.ones(3)])),
        ("texts by name", saved({"conv1.weight": "text"})),
        ("nothing by name", saved({})),
        ("another network", saved({"fc.weight": torch.ones(3)})),
        ("noise", dice.randbytes(9000)),
    ]  # fmt: skip
    return found


def fault_of(name: str, content: bytes, folder: Path, *, pt: bool) -> str:
    """What went wrong with a file of weights: it must be refused in one line, by exit code 4, whatever is allowed."""
    path = folder / f"weights.{'pt' if pt else 'safetensors'}"
    path.write_bytes(content)
    code, out, err = call(f"layers {MODEL} --weights {path} --allow-pt")
    *notes, line = err.splitlines() or [""]
    if name == "another network":  # sound as a file: it is said where its tensors are kept, and that they do not fit
        notes = notes[1:]
    right = code == 4 and not out and not notes and line.startswith("convscope: ")
    return "" if right else f"exit code {code}: {err[:500]}{out[:100]}"


def fault_of_sound(folder: Path) -> str:
    """Why sound weights are not taken: without that, refusing would prove nothing."""
    save_file(sound_weights(), folder / "sound.safetensors")
    torch.save(sound_weights(), folder / "sound.pt")
    for given in ("sound.safetensors", "sound.pt --allow-pt"):
        code, _, err = call(f"layers {MODEL} --weights {folder}/{given}")
        if code:
            return f"{given}: {err}"
    return ""
