"""The commands that give things away and take them in: export and import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from convscope.command_line.console import print_results, say, show_work
from convscope.command_line.flags import DEFAULT_OUTPUT, DEFAULT_SUBJECT, OUT, NetworkName, Output, SubjectFlags
from convscope.command_line.subject import is_run, open_subject
from convscope.durable import make_place, refusal_told, whole_file
from convscope.errors import UsageError, first_five
from convscope.exports import CHART, CURVES, NETWORK, Chart, what_to_export


def export(
    network: NetworkName,
    /,
    *,
    out: Annotated[Path, OUT],
    chart: Chart | None = None,
    subject: SubjectFlags = DEFAULT_SUBJECT,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Write a network as ONNX or as a torch.export program, or a run's curves, a chart of it, or all of it.

    Parameters
    ----------
    out
        The file, whose ending decides: .onnx or .pt2 (the network, checked by running it), .csv (a run's curves),
        .svg or .png (a run's chart), .tar (a whole run, for: convscope import).
    chart
        What an .svg or a .png shows; otherwise the curves.
    """
    what = what_to_export(out)
    if chart and what != CHART:
        raise UsageError(f"--chart is for .svg and .png, not for {out.suffix}")
    if what == NETWORK:
        results = _export_network(network, out, subject)
    elif not is_run(network):
        raise UsageError(f"{out.suffix} is {what}, and {network} is none; allowed: a run folder or latest")
    elif subject != DEFAULT_SUBJECT:
        raise UsageError(f"{out.suffix} is {what}; leave out what says how to open a network")
    elif what == CHART:
        results = _export_chart(network, out, chart or "curves")
    else:
        results = (_export_curves if what == CURVES else _export_run)(network, out, output)
    print_results(results, as_json=output.json)


def import_run(
    archive: Path,
    /,
    *,
    out: Annotated[Path | None, OUT] = None,
    images: Path | None = None,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Make an archive that export wrote a run's folder again, so that every command takes it.

    Parameters
    ----------
    archive
        The .tar file.
    out
        The run folder to make; otherwise one under runs/ with the archive's name.
    images
        Where the images that it was trained on are on this machine: a folder, or what --data-dir takes.
    """
    from convscope.exports.run_archive import unpack_run
    from convscope.training.folder import RUNS

    target = out or RUNS / archive.stem
    unpacked = unpack_run(archive, target, images=images)
    if unpacked.missing_images:
        say(f"its images are not here: {unpacked.missing_images}; --images PLACE says where they are on this machine")
    print_results({"run": str(target), "files": unpacked.files}, as_json=output.json)


def _export_network(name: str, out: Path, flags: SubjectFlags) -> dict[str, Any]:
    from convscope.exports.network_file import export_network

    if flags.device not in ("auto", "cpu"):
        raise UsageError(f"--device {flags.device}; allowed: cpu, where the file is checked; it then runs anywhere")
    network = open_subject(name, replace(flags, device="cpu")).network
    written = export_network(network, out)
    sides = "×".join(str(side) for side in (len(network.mean), *network.input_size))
    return {
        "network": str(written.path),
        "bytes": written.bytes,
        "input": f"images: any number × {sides}, float32 RGB in [0, 1]; it is normalized within",
        "output": f"logits of {len(network.class_names)} classes, whose names are in the metadata",
        "largest_difference": written.difference,
        "checked_by": written.checked_by,
    }


def _export_curves(name: str, out: Path, output: Output) -> dict[str, Any]:
    from convscope.training.folder import find_run, read_config
    from convscope.training.log_table import write_csv

    run = find_run(name)
    read_config(run)
    make_place(out)
    rows = -1  # the first line is the columns' names
    with (
        (run / "events.jsonl").open("rb", buffering=0) as log,
        refusal_told(f"write {out}", "name another place with --out"),
        whole_file(out) as unfinished,
        unfinished.open("w", encoding="utf-8", newline="") as file,
    ):
        for part in write_csv(log):
            rows += part.count("\n")
            file.write(part)
    return {"curves": str(out), "rows": rows}


def _export_chart(name: str, out: Path, chart: Chart) -> dict[str, Any]:
    from convscope.exports.run_chart import save_chart
    from convscope.training.checkpoint import weights_sum
    from convscope.training.folder import find_run, read_config, read_events

    run = find_run(name)
    config = read_config(run)
    provenance = {"Command": config["command"], "Weights": f"SHA-256 {weights_sum(run / 'checkpoints')}"}
    save_chart(out, chart, read_events(run), config["dataset"]["class_names"], provenance=provenance)
    return {"chart": str(out)}


def _export_run(name: str, out: Path, output: Output) -> dict[str, Any]:
    from convscope.exports.places import named_places
    from convscope.exports.run_archive import pack_run
    from convscope.training.folder import find_run, read_config

    run = find_run(name)
    if places := named_places(read_config(run)):
        say(f"the archive names places of this machine, as its run.json does: {first_five(places)}")
    with show_work(quiet=output.quiet) as progress:
        packed = pack_run(run, out, progress=progress)
    if packed.left_out:
        say(f"left out: {first_five(packed.left_out)}")
    return {"archive": str(out), "files": packed.files, "bytes": packed.bytes}


TRANSFERS: dict[str, Callable[..., None]] = {"export": export, "import": import_run}
