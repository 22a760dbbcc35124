"""A page that would be too large is packed tighter, the largest pictures first, and says so."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from convscope.paint import image_picture
from convscope.report import report
from convscope.report.fit import fit
from convscope.report.report import write_report
from convscope.report.sections import Section
from tests.planted import small
from tests.report.test_charts import run_events


def shown(side: int, *, seed: int = 0, kind: str = "png") -> dict:
    """What a page shows of noise, which no lossless file makes small."""
    noise = np.random.default_rng(seed).integers(0, 256, (-(-side // 8), -(-side // 8), 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise.repeat(8, 0).repeat(8, 1)[:side, :side]).save(file, kind, compress_level=0)
    source = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"src": source, "width": side, "height": side}


def opened(one: dict) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(one["src"].partition(",")[2])))


def test_what_has_room_stays():
    pictures = [shown(64), shown(128)]
    before = [dict(each) for each in pictures]
    assert fit(pictures, 10**6) == 0
    assert pictures == before


def test_the_largest_is_packed_first_and_still_shows_the_same():
    pictures = [shown(64), shown(640), shown(128)]
    before = [dict(each) for each in pictures]
    assert fit(pictures, 300_000) == 1
    assert [each == was for each, was in zip(pictures, before, strict=True)] == [True, False, True]
    assert pictures[1]["src"].startswith("data:image/webp;base64,")
    packed, original = (np.asarray(opened(each).convert("RGB")).astype(int) for each in (pictures[1], before[1]))
    assert packed.shape == original.shape
    assert np.abs(packed - original).mean() < 12


def test_what_is_still_too_large_is_halved_but_not_below_what_can_be_read():
    pictures = [shown(1920), shown(500)]
    assert fit(pictures, 1000) == 2
    assert (pictures[0]["width"], pictures[0]["height"]) == opened(pictures[0]).size == (480, 480)
    assert opened(pictures[1]).size == (500, 500)


def test_a_report_that_would_be_too_large_says_what_it_did(tmp_path, monkeypatch):
    network, dataset = small()
    noise = np.random.default_rng(0).random((4, 3, 128, 128), dtype=np.float32)
    large = Section("Noise", "It cannot be packed.", [image_picture("noise", "Noise", noise)])
    monkeypatch.setattr(report, "sections", lambda *needs, **knobs: iter([large]))
    options = {"network": network, "dataset": dataset, "events": run_events(), "config": {}}
    whole = write_report(tmp_path / "whole", **options)
    assert "packed with some loss" not in whole.read_text("utf-8")
    limit = whole.stat().st_size - 100_000
    monkeypatch.setattr(report, "LARGEST_PAGE", limit)
    written = write_report(tmp_path / "packed", **options)
    assert written.stat().st_size <= limit
    page = " ".join(written.read_text("utf-8").split())
    assert "1 of its pictures is packed with some loss; the folder <code>pictures</code> has it as drawn" in page
    for path in (whole.parent / "pictures").iterdir():
        assert path.read_bytes() == (written.parent / "pictures" / path.name).read_bytes()
