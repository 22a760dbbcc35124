"""What the explorer answers is what the methods give that are asked directly, and its loop never computes."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from convscope.hooks import record_outputs
from convscope.methods.ascents.maximize_all import drawn_picture
from convscope.methods.attribute import attribute
from convscope.methods.channels.class_channels import find_class_channels
from convscope.methods.channels.connections import find_connections
from convscope.methods.reconstruct import reconstruct
from convscope.methods.removals.ablation import ablate
from convscope.methods.removals.decisive import find_decisive
from convscope.methods.surveys.class_images import choose_class_images, predict
from convscope.methods.surveys.survey import survey
from convscope.paint import colours
from convscope.types import Picture
from convscope.web.explorer import behind, looks
from convscope.web.explorer.routes import Explorer
from tests.patience import PATIENCE, soon
from tests.web.served import read_stream
from tests.web.tiny_explorer import CLASSES, exploring, tiny_dataset, tiny_explorer, tiny_network

# The explorer's lanes are stopped wherever they are, also while a file is being opened.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("quick"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def client(store: Path, quick: None) -> Iterator[httpx.Client]:
    with exploring(tiny_explorer(store)) as client:
        wait_for(client, "/api/layers/2", lambda told: told["rows"] and all(told["drawn_steps"]))
        yield client


def wait_for(client: httpx.Client, path: str, enough: Callable[[Any], Any]) -> Any:
    """What is told at an address once it is enough."""

    def asked() -> Any:
        answer = client.get(path)
        assert answer.status_code < 400, answer.text
        told = answer.json() if "json" in answer.headers["content-type"] else True
        return answer if answer.status_code == 200 and enough(told) else None

    return soon(asked)


def pixels(client: httpx.Client, path: str) -> np.ndarray:
    """The pixels of a picture."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def tile(picture: Picture, index: int) -> np.ndarray:
    """What a picture's tile looks like."""
    return colours(picture.values[[index]], picture.limits[[index]], picture.scale)[0]


def image(number: int) -> torch.Tensor:
    return next(iter(tiny_dataset().test.images.batches([torch.tensor([number])])))[0].float() / 255


def test_only_rules_that_the_network_allows_are_offered(tmp_path: Path):
    network = tiny_network()
    network.model[1] = torch.nn.Hardswish()  # pyright: ignore[reportIndexIssue]
    with exploring(tiny_explorer(tmp_path, network=network)) as client:
        told = client.get("/api/network").json()
        assert told["rules"] == ["gradient"]
        assert {"guided", "deconvnet", "guided-grad-cam"} & told["attributions"].keys() == set()
        for how in told["attributions"]:
            assert client.get(f"/api/images/test-0/attributions/{how}").status_code == 200, how
        assert client.get("/api/images/test-0/units/2/1/0,0?rule=gradient").status_code == 200


def test_the_network_is_described(client: httpx.Client):
    told = client.get("/api/network").json()
    assert (told["name"], told["source"]) == ("tiny", "runs/tiny")
    assert told["dataset"] == {"name": "noise", "train": 30, "test": 12}
    assert told["classes"] == list(CLASSES)
    assert told["parameters"] == sum(each.numel() for each in tiny_network().model.parameters())
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert [*layers] == list("0123456")
    assert [name for name in layers if layers[name]["explorable"]] == ["0", "1", "2", "3", "6"]
    assert layers["2"]["shape"] == [4, 4, 4]
    assert (layers["2"]["parameters"], layers["2"]["channels"], told["head"]) == (6 * 4 * 9 + 4, 4, "6")


def test_an_image_is_shown_and_judged(client: httpx.Client):
    expected = image(5).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(client, "/api/images/test-5.png"), expected)
    told = client.get("/api/images/test-5").json()
    chances = predict(tiny_network(), tiny_dataset())[5]
    assert told["label"] == 2
    assert told["predicted"] == chances.argmax()
    assert [told["probabilities"][place][1] for place in range(3)] == pytest.approx(sorted(chances)[::-1], rel=1e-5)
    assert told["probabilities"][0][0] == CLASSES[chances.argmax()]


def test_a_sheet_has_a_pixel_for_each_unit(client: httpx.Client):
    network = tiny_network()
    maps = record_outputs(network.model, network.normalize(image(5)[None]), ["2"])["2"][0].detach().numpy()
    told = client.get("/api/images/test-5/maps/2").json()
    assert (told["channels"], told["height"], told["width"]) == maps.shape
    assert told["signed"]
    assert told["command"] == "convscope maps runs/tiny --layer 2 --image 5"
    sheet = pixels(client, "/api/images/test-5/maps/2.png?columns=2&first=1&count=3")
    assert sheet.shape == (8, 8, 4)
    for place, channel in enumerate((1, 2, 3)):
        y, x = 4 * (place // 2), 4 * (place % 2)
        bound = abs(maps[channel]).max()
        own = colours(maps[channel][None, None], np.array([[-bound, bound]]), "diverging")[0]
        assert np.abs(sheet[y : y + 4, x : x + 4, :3].astype(int) - own).max() <= 1
    assert not sheet[4:, 4:, 3].any()  # there is no fourth


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_a_unit_is_reconstructed(client: httpx.Client, rule: Any):
    expected = reconstruct(tiny_network(), "2", image(5), 3, rule=rule, position="1,2")
    shown = pixels(client, f"/api/images/test-5/units/2/3/1,2.png?rule={rule}")  # as the command draws it
    assert np.abs(shown.astype(int) - tile(expected, -1)).max() <= 1
    told = client.get(f"/api/images/test-5/units/2/3/1,2?rule={rule}").json()
    assert told["value"] == pytest.approx(expected.numbers["value"][0], rel=1e-5)
    assert told["dark"] == bool(expected.numbers["dark_channels"])
    assert told["command"].endswith(f"--layer 2 --channel 3 --image 5 --rule {rule} --position 1,2")


def test_a_channel_is_reconstructed_and_can_be_kept_with_its_command(client: httpx.Client):
    expected = reconstruct(tiny_network(), "2", image(5), 1, rule="guided")
    path = "/api/images/test-5/channels/2/1"
    assert np.abs(pixels(client, f"{path}.png?rule=guided").astype(int) - tile(expected, -1)).max() <= 1
    answer = client.get(f"{path}.png?rule=guided&download=1")
    assert answer.headers["content-disposition"] == 'attachment; filename="guided-2-1-test-5.png"'
    text = Image.open(io.BytesIO(answer.content)).info
    assert text["Command"] == client.get(f"{path}?rule=guided").json()["command"]
    assert text["Description"] == expected.caption


def test_the_next_click_runs_the_network_no_more(client: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    client.get("/api/images/test-7/units/2/3/1,2.png")
    wait_for(client, "/api/layers/2", lambda told: told["rows"] and min(told["drawn_steps"]) == 4)
    passes: list[str] = []
    original = looks.record_pass
    monkeypatch.setattr(
        looks, "record_pass", lambda *given, **named: passes.append(given[1]) or original(*given, **named)
    )
    for where in ("2/3/0,0", "2/1/3,3", "2/0/1,2"):
        assert client.get(f"/api/images/test-7/units/{where}.png").status_code == 200
    assert not passes
    client.get("/api/images/test-7/units/0/3/0,0.png")
    assert passes == ["0"]


def test_an_attribution_covers_where_it_is_strong(client: httpx.Client):
    expected = attribute(tiny_network(), image(5), how="occlusion", target=1)
    shown = pixels(client, "/api/images/test-5/attributions/occlusion.png?class=1")
    assert np.abs(shown[..., :3].astype(int) - tile(expected, 0)).max() <= 1
    cover = (abs(expected.values[0, 0]) / expected.limits[0, 1]).clip(0, 1)
    assert shown[..., 3] / 255 == pytest.approx(cover, abs=0.01)
    told = client.get("/api/images/test-5/attributions/occlusion?class=1").json()
    assert told["numbers"]["target_index"] == 1


def test_what_changes_the_answer(client: httpx.Client):
    expected = find_decisive(tiny_network(), image(5), 1)
    told = client.get("/api/images/test-5/decisive?class=1").json()
    assert [(each["layer"], each["channel"]) for each in told["removed"]] == [
        (each.layer, each.channel) for each in expected.removed
    ]
    assert told["removed"][0]["change"] == pytest.approx(expected.removed[0].change, rel=1e-4)


def test_images_are_browsed_by_class_and_by_mistake(client: httpx.Client):
    chances, labels = predict(tiny_network(), tiny_dataset()), tiny_dataset().test.labels.numpy()
    wrong = np.flatnonzero(chances.argmax(1) != labels)
    told = wait_for(client, "/api/images?mistakes=1", lambda told: not told["waiting"]).json()
    assert [each["id"] for each in told["images"]] == [f"test-{number}" for number in wrong]
    of_one = client.get("/api/images?class=1&offset=1&count=2").json()
    assert (of_one["total"], [each["id"] for each in of_one["images"]]) == (4, ["test-4", "test-7"])
    assert client.get("/api/images?split=train&offset=29").json()["images"][0]["id"] == "train-29"


def test_a_layer_is_a_table_of_its_channels(client: httpx.Client):
    expected = survey(tiny_network(), tiny_dataset(), ["2"])["2"]
    told = client.get("/api/layers/2").json()
    assert [row["maximum"] for row in told["rows"]] == pytest.approx(expected.maxima.tolist(), rel=1e-5)
    assert [row["favourite"] for row in told["rows"]] == expected.selective_class.tolist()
    assert [row["share_active"] for row in told["rows"]] == pytest.approx(1 - expected.shares_of_zeros, rel=1e-5)
    assert told["pictures"] == ["pattern", "top-image", "filter"]
    assert client.get("/api/layers/1").json()["pictures"] == ["pattern", "top-image"]


def test_a_layer_that_is_not_surveyed_anyway_is_when_it_is_looked_at(client: httpx.Client):
    rows = wait_for(client, "/api/layers/3", lambda told: told["rows"]).json()["rows"]
    expected = survey(tiny_network(), tiny_dataset(), ["3"])["3"]
    assert [row["maximum"] for row in rows] == pytest.approx(expected.maxima.tolist(), rel=1e-5)


def test_a_channel_s_evidence(client: httpx.Client):
    network, dataset = tiny_network(), tiny_dataset()
    expected = survey(network, dataset, ["2"])["2"]
    told = wait_for(client, "/api/layers/2/channels/1", lambda told: told["incoming"]).json()
    assert [each["id"] for each in told["top"]] == [f"train-{number}" for number in expected.images[1]]
    assert [each["value"] for each in told["top"]] == pytest.approx(expected.values[1].tolist(), rel=1e-5)
    assert [name for name, _ in told["classes"]] == list(CLASSES)
    assert [mean for _, mean in told["classes"]] == pytest.approx(expected.class_means[:, 1], rel=1e-4)
    assert sum(told["histogram"]["counts"]) == 30
    assert told["numbers"]["maximum"] == pytest.approx(float(expected.maxima[1]), rel=1e-5)
    links = find_connections(network, "2", 1)
    assert [each["channel"] for each in told["incoming"]] == [each.channel for each in links.incoming]
    assert [each["layer"] for each in told["outgoing"]] == [each.layer for each in links.outgoing]
    assert told["commands"]["pattern"] == "convscope maximize runs/tiny --layer 2 --channel 1"


def test_a_channel_s_top_patch_is_what_its_unit_sees(client: httpx.Client):
    [first, *_] = client.get("/api/layers/2/channels/1").json()["top"]
    top, left, bottom, right = first["box"]
    shown = pixels(client, "/api/layers/2/channels/1/top-image.png")
    whole = pixels(client, f"/api/images/{first['id']}.png")[top:bottom, left:right]
    y = 0 if top else len(shown) - (bottom - top)
    x = 0 if left else shown.shape[1] - (right - left)
    assert np.array_equal(shown[y : y + bottom - top, x : x + right - left], whole)


def test_a_pattern_is_the_finest_that_is_drawn(client: httpx.Client, store: Path):
    wait_for(client, "/api/layers/2", lambda told: min(told["drawn_steps"]) == 4)
    expected = drawn_picture(tiny_network(), store, "2", 1, tiny_dataset())
    shown = pixels(client, "/api/layers/2/channels/1/pattern.png")
    assert np.abs(shown.astype(int) - tile(expected, 0)).max() <= 1
    told = client.get("/api/layers/2/channels/1").json()
    assert told["numbers"]["pattern_ratio"] == pytest.approx(expected.numbers["ratio"][0], rel=1e-5)
    answer = client.get("/api/layers/2/channels/1/pattern.png?download=1")
    command = "convscope maximize runs/tiny --layer 2 --channel 1 --steps 4"
    assert Image.open(io.BytesIO(answer.content)).info["Command"] == command


@pytest.mark.parametrize("name", ["filter", "top", "variants"])
def test_a_channel_s_other_pictures_are_drawn(client: httpx.Client, name: str):
    assert pixels(client, f"/api/layers/2/channels/1/{name}.png").std() > 1


def test_what_removing_a_channel_does(client: httpx.Client):
    expected = ablate(tiny_network(), "2", 1, tiny_dataset())
    told = client.get("/api/layers/2/channels/1/ablation").json()
    assert told["accuracy"] == expected.accuracy[0].tolist()
    assert told["accuracy_before"] == expected.accuracy_before.tolist()
    assert told["loss_change"] == pytest.approx(expected.loss_change[0], rel=1e-5)
    assert (told["images"], told["of"]) == (12, 12)


def test_a_class_has_images_and_channels(client: httpx.Client):
    network, dataset = tiny_network(), tiny_dataset()
    told = wait_for(client, "/api/classes/1", lambda told: not told["waiting"]).json()
    images = choose_class_images(predict(network, dataset), dataset.test.labels.numpy(), 1)
    for kind in ("typical", "intruders", "missed"):
        assert [each["id"] for each in told[kind]] == [f"test-{each.image}" for each in getattr(images, kind)]
    channels = find_class_channels(network, dataset, 1)
    assert told["name"] == CLASSES[1]
    assert [each["channel"] for each in told["for"]] == list(channels.strongest_for)
    assert [each["channel"] for each in told["against"]] == list(channels.strongest_against)
    wait_for(client, "/api/classes/1/pattern.png", lambda _: True)


def test_an_uploaded_image_is_looked_at_like_any_other(client: httpx.Client):
    square = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(square).save(file, "PNG")
    answer = client.post("/api/images", content=file.getvalue())
    assert answer.status_code == 201
    key = answer.json()["id"]
    assert np.array_equal(pixels(client, f"/api/images/{key}.png"), square)
    assert client.get(f"/api/images/{key}").json()["label"] is None
    told = client.get(f"/api/images/{key}/units/2/0/1,1").json()
    assert f"--image {key}.png" in told["command"]
    assert client.post("/api/images", content=b"no image").status_code == 415


def test_what_was_found_is_kept(client: httpx.Client, store: Path, monkeypatch: pytest.MonkeyPatch):
    wait_for(client, "/api/images?mistakes=1", lambda told: not told["waiting"])

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("found before")

    monkeypatch.setattr(behind, "predict", never)
    monkeypatch.setattr("convscope.methods.surveys.survey_store.survey", never)
    monkeypatch.setattr("convscope.web.explorer.channels.ablate", never)
    client.get("/api/layers/2/channels/1/ablation")
    with exploring(tiny_explorer(store)) as other:
        wait_for(other, "/api/images?mistakes=1", lambda told: not told["waiting"])
        assert wait_for(other, "/api/layers/2", lambda told: told["rows"]).json()["drawn_steps"] == [4] * 4
        assert other.get("/api/layers/2/channels/1/ablation").status_code == 200


def test_what_was_found_is_not_shown_for_the_same_weights_fed_otherwise(client: httpx.Client, store: Path):
    client.get("/api/layers/2/channels/1/ablation")
    network = replace(tiny_network(), mean=(0.2, 0.5, 0.9))
    with exploring(tiny_explorer(store, network=network)) as other:
        told = other.get("/api/layers/2/channels/1/ablation").json()
        assert told["loss_change"] == pytest.approx(ablate(network, "2", 1, tiny_dataset()).loss_change[0], rel=1e-5)
        told = wait_for(other, "/api/images", lambda told: not told["waiting"]).json()
        expected = predict(network, tiny_dataset()).max(1)
        assert [each["probability"] for each in told["images"]] == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_stream_tells_what_is_drawn(tmp_path: Path):
    with exploring(tiny_explorer(tmp_path)) as client:
        kinds: set[tuple[str, Any]] = set()
        with client.stream("GET", "/api/stream") as answer:
            for kind, data, _ in read_stream(answer.iter_lines()):
                kinds.add((kind, data.get("layer") or data["what"]))
                if ("progress", "patterns") in kinds:
                    break
        assert {("drawn", "0"), ("drawn", "6")} < kinds


def test_the_pattern_that_is_asked_for_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    begin, order = threading.Event(), list[str]()
    monkeypatch.setattr("convscope.methods.ascents.excite.PIXELS", 2 * 2 * 64)
    original = behind.PatternStore.draw

    def draw(self: Any, network: Any, name: str, part: list[int], steps: int) -> bool:
        order.append(f"{name}:{part[0]}:{steps}")
        begin.wait(PATIENCE)
        return original(self, network, name, part, steps)

    monkeypatch.setattr(behind.PatternStore, "draw", draw)
    with exploring(tiny_explorer(tmp_path)) as client:
        soon(lambda: order)
        for path in ("0/channels/4", "2/channels/3", "2/channels/0"):
            assert client.get(f"/api/layers/{path}/pattern.png").status_code == 202
        begin.set()
        wait_for(client, "/api/layers/2", lambda told: min(told["drawn_steps"]) == 4)
    assert order[:4] == ["0:0:2", "2:2:2", "2:0:2", "0:4:2"]


def test_long_work_does_not_delay_what_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    busy, free = threading.Event(), threading.Event()

    def block(*_: Any) -> Any:
        busy.set()
        free.wait(PATIENCE)
        return {}

    monkeypatch.setattr("convscope.web.explorer.looks.Looks.decisive", block)
    monkeypatch.setattr("convscope.web.explorer.looks.Looks.describe", block)
    with exploring(tiny_explorer(tmp_path)) as client:
        asked = [
            threading.Thread(target=client.get, args=[f"/api/images/test-0{what}"]) for what in ("/decisive", "")
        ]
        for each in asked:
            each.start()
        assert busy.wait(PATIENCE)
        assert client.get("/api/network").status_code == 200  # or the client gives up: the others wait for `free`
        assert client.get("/").status_code == 200
        free.set()
        for each in asked:
            each.join(PATIENCE)


def test_a_network_without_a_run_looks_at_a_folder_of_images(tmp_path: Path):
    folder = tmp_path / "pictures of mine"
    folder.mkdir()
    squares = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    for number, square in enumerate(squares):
        Image.fromarray(square).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("nothing")
    explorer: Explorer = tiny_explorer(tmp_path / "store", dataset=None, images=folder)
    with exploring(explorer) as client:
        told = client.get("/api/images").json()
        assert [each["id"] for each in told["images"]] == [f"folder-{number}" for number in range(5)]
        assert told["images"][0]["label"] is None
        assert np.array_equal(pixels(client, "/api/images/folder-3.png"), squares[3])
        assert str(folder) not in json.dumps(told)
        command = client.get("/api/images/folder-3/units/2/1/0,0").json()["command"]
        assert f"'{folder}/3.png'" in command
        wait_for(client, "/api/layers/2", lambda told: told["rows"])
        channel = client.get("/api/layers/2/channels/1").json()
        assert {each["id"] for each in channel["top"]} == {f"folder-{number}" for number in range(5)}
        assert channel["classes"] == []
        assert not any("selective" in badge for badge in channel["badges"])
        assert client.get("/api/layers/2/channels/1/ablation").status_code == 404
        told = wait_for(client, "/api/layers/6/channels/1", lambda told: told["incoming"]).json()
        assert {each["page"] for each in told["incoming"]} == {"3"}  # whose channels the pool keeps apart
        of_class = wait_for(client, "/api/classes/1", lambda told: not told["waiting"]).json()
        assert (of_class["typical"], of_class["for"]) == (None, None)
        images = torch.from_numpy(squares).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            chances = tiny_network()(images).softmax(1)  # (5, 3)
        expected = [
            (f"folder-{number}", int(chances[number].argmax()), pytest.approx(chances[number, 1].item(), abs=1e-5))
            for number in chances[:, 1].argsort(descending=True).tolist()
        ]
        assert [(each["id"], each["predicted"], each["probability"]) for each in of_class["likeliest"]] == expected
        told = client.get("/api/images").json()
        assert [each["predicted"] for each in told["images"]] == chances.argmax(1).tolist()
        wait_for(client, "/api/classes/1/pattern.png", lambda _: True)


def test_a_network_with_no_images_at_all_is_still_shown(tmp_path: Path):
    with exploring(tiny_explorer(tmp_path, dataset=None)) as client:
        assert client.get("/api/network").json()["dataset"] is None
        first = client.get("/api/layers/2").json()  # what is there at once comes first
        assert all(first["drawn_steps"]) or first["pictures"] == ["filter", "pattern"]
        assert client.get("/api/images").json() == {"split": "uploaded", "total": 0, "images": [], "waiting": False}
        assert client.get("/api/layers/2/channels/1/top-image.png").status_code == 404
        wait_for(client, "/api/layers/2", lambda told: all(told["drawn_steps"]))
        assert client.get("/api/layers/2").json()["pictures"] == ["pattern", "filter"]


def test_a_network_without_scores_does_not_keep_its_page_waiting(tmp_path: Path):
    network = tiny_network()
    maps = replace(network, model=network.model[:4], class_names=())
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (8, 8), (9, 99, 199)).save(folder / "one.png")
    with exploring(tiny_explorer(tmp_path / "store", network=maps, dataset=None, images=folder)) as client:
        told = wait_for(client, "/api/images", lambda told: not told["waiting"]).json()
        assert told["images"][0]["predicted"] is None
