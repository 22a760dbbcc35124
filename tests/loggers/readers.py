"""Read back what the tools have of a run: by name the curves [(step, value), …] and the steps of the pictures."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.patience import PATIENCE


def read_tensorboard(run: Path, tools) -> tuple[dict, list]:
    """With TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    found.Reload()
    curves = {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    pictures = [
        (one.step, int(np.asarray(Image.open(io.BytesIO(one.encoded_image_string)))[0, 0, 0]))
        for one in found.Images("filters")
    ]
    return curves, pictures


def read_mlflow(run: Path, tools) -> tuple[dict, list]:
    """With MLflow's own client."""
    import mlflow

    client = mlflow.MlflowClient()
    (found,) = client.search_runs(
        [client.get_experiment_by_name("convscope").experiment_id],
        filter_string=f"run_id = '{json.loads((run / 'loggers' / 'mlflow.json').read_bytes())['id']}'",
    )
    curves = {
        name: [(one.step, one.value) for one in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    files = [file.path for file in client.list_artifacts(found.info.run_id, "images") if file.path.endswith("png")]
    pictures = []
    for file in sorted(files, key=lambda file: int(file.split("+")[2])):
        pixels = np.asarray(Image.open(Path(client.download_artifacts(found.info.run_id, file))))
        pictures.append((int(file.split("+")[2]), int(pixels[0, 0, 0])))
    return curves, pictures


def wandb_records(run: Path) -> list:
    """Every record of the run's offline files, in order, once wandb's own process has written them to the end."""
    until = time.monotonic() + PATIENCE
    while True:
        files = [read_records(path) for path in sorted(run.glob("wandb/offline-run-*/*.wandb"))]
        ended = [records and records[-1].WhichOneof("record_type") in ("exit", "final") for records in files]
        if all(ended) or time.monotonic() > until:
            return [record for records in files for record in records]
        time.sleep(0.02)


def read_records(path: Path) -> list:
    """The records of a LevelDB log of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    records, data, at, whole = [], path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block that has no room for a header
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + length > len(data):
            break
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(whole))
            whole = b""
    return records


def wandb_values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_wandb(run: Path, tools) -> tuple[dict, list]:
    """From the files that `wandb sync` sends."""
    curves: dict[str, list] = {}
    pictures = []
    for record in wandb_records(run):
        if record.WhichOneof("record_type") == "history":
            values = wandb_values(record.history.item)
            for name, value in values.items():
                if name == "filters/path":
                    (file,) = run.glob(f"wandb/offline-run-*/files/{value}")
                    pictures.append((values["_step"], int(np.asarray(Image.open(file))[0, 0, 0])))
                else:
                    curves.setdefault(name, []).append((values["_step"], value))
    return curves, pictures


def read_visdom(run: Path, tools) -> tuple[dict, list]:
    """From the windows that the stand-in holds."""
    curves = {}
    for window, message in tools.windows.items():
        for trace in message["data"]:
            if trace["type"] == "scatter":
                curves[f"{window}/{trace['name']}"] = list(zip(trace["x"], trace["y"], strict=True))
    pictures = []
    for one in tools.windows["filters"]["data"]:
        data = base64.b64decode(one["content"]["src"].partition(",")[2])
        step = int(one["content"]["caption"].removeprefix("step "))
        pictures.append((step, int(np.asarray(Image.open(io.BytesIO(data)))[0, 0, 0])))
    return curves, pictures


READERS = {"tensorboard": read_tensorboard, "visdom": read_visdom, "wandb": read_wandb, "mlflow": read_mlflow}
