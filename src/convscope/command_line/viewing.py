"""What the commands film, watch and explore do: a training as an animation, runs and a network in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.command_line.console import print_address, print_results, say, show_work
from convscope.command_line.flags import DEFAULT_DATA, Output, PageFlags, SubjectFlags
from convscope.command_line.jobs import read_dataset
from convscope.command_line.subject import OF_NO_RUN, is_run, open_subject
from convscope.errors import UsageError

if TYPE_CHECKING:
    from convscope.film.render import Show
    from convscope.types import Dataset, Network


def draw_film(
    name: str, out: Path | None, output: Output, *, show: Show, frames_per_second: float, **knobs: Any
) -> None:
    """Write a run's film, and print where it is and how to read it."""
    from convscope.film.animation import check_animation
    from convscope.film.render import render_film
    from convscope.training.folder import find_run

    path = find_run(name)
    out = out or path / "pictures" / "film.webp"
    check_animation(out, frames_per_second)
    if show != "filters":  # patterns are drawn by the network; filters are there, and torch stays out
        from convscope.training.run import open_run

        run = open_run(name)
        knobs |= {"network": run.network(say=say), "dataset": read_dataset(run, output)}
    with show_work(quiet=output.quiet) as progress:
        film = render_film(path, out, show=show, frames_per_second=frames_per_second, progress=progress, **knobs)
    print_results(
        {"film": str(film.path), "frames": film.frames, "unreadable": film.skipped, "note": film.caption},
        as_json=output.json,
    )


def watch_runs(folder: Path, page: PageFlags, follow: int | None) -> None:
    """Show the runs of a folder in the browser until Ctrl-C, or until the process numbered `follow` has ended."""
    from convscope.web.dashboard.watch import watch

    watch(folder, follow=follow, **_served(page))


def _served(page: PageFlags) -> dict[str, Any]:
    """Where a live page is served, and who is told of it, as its server takes it."""
    return {
        "port": page.port,
        "host": page.host,
        "expose": page.expose,
        "open_browser": not page.no_open,
        "say": print_address,
        "warn": say,
    }


def explore_network(name: str, images: Path | None, flags: SubjectFlags, page: PageFlags, output: Output) -> None:
    """Open a network in the browser until Ctrl-C, with a run's own images, those of a folder, or what is uploaded."""
    from convscope.web.explorer.explore import explore

    run = _check_run(name) if is_run(name) else None  # what is wrong with a name is said before a page is shown
    if images is not None and not images.is_dir():
        raise UsageError(f'no folder "{images}"; wanted: a folder with image files')

    def open_network() -> tuple[Network, Dataset | None]:
        subject = open_subject(str(run or name), flags)
        return subject.network, subject.dataset(None, DEFAULT_DATA, output)

    given = {f"--{key.replace('_', '-')}": getattr(flags, key) for key in OF_NO_RUN}
    words = [word for flag, value in given.items() if value for word in (flag, str(value))]
    words += ["--allow-pt"] if flags.allow_pt else []
    explore(
        open_network,
        run,
        images=images,
        arguments=[str(run or name), *words],
        **_served(page),
    )


def _check_run(name: str) -> Path:
    """The folder of the run of that name. Raises UsageError and CheckpointError, without reading any weights."""
    from convscope.training.folder import find_run, read_config

    path = find_run(name)
    read_config(path)
    return path
