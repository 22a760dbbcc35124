"""The film of a training as an animation: filters, the patterns that channels answer to, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from convscope.errors import CheckpointError, UsageError
from convscope.film.animation import check_animation, save_animation
from convscope.film.frame_pictures import film_scale, filters_picture, frame_scale
from convscope.film.sheet import Panel, Span, draw_sheet
from convscope.film.story import Story
from convscope.training.folder import read_events
from convscope.training.frames import FilmInfo, Frame, read_frame, read_info, recorded_steps, weights_steps
from convscope.types import Event, Picture, Progress, no_progress

if TYPE_CHECKING:
    from convscope.methods.needs import Channels
    from convscope.types import Dataset, Network

Show = Literal["filters", "patterns", "both"]
SHOWS: tuple[Show, ...] = ("filters", "patterns", "both")

HOLD = 2.0
"""Seconds that the last frame stays."""


class Film(NamedTuple):
    """An animation that was written."""

    path: Path
    frames: int
    skipped: int  # frames whose files are missing or damaged
    caption: str  # how to read it


class Sheets(NamedTuple):
    """The images of an animation."""

    images: list[np.ndarray]  # (H, W, 3) uint8, all of one size
    steps: list[int]
    skipped: int
    caption: str


def render_film(
    run: Path,
    target: Path,
    *,
    show: Show = "filters",
    network: Network | None = None,
    dataset: Dataset | None = None,
    layer: str | None = None,
    channel: Channels = None,
    frames_per_second: float = 8.0,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Film:
    """Write the film of the run in that folder as .webp, .gif or .mp4.

    Patterns need the run's `network`, whose weights are lent and given back; colours and frequencies of a pattern's
    start come from the `dataset` where there is one. `layer` defaults to the middle stage, `channel` to its first
    16; with "filters" it is which of them. Raises UsageError for a run without a film, and for names and values that
    are not; CheckpointError where no frame can be read.
    """
    check_animation(target, frames_per_second)
    if show not in SHOWS:
        raise UsageError(f'no film of "{show}"; allowed: {", ".join(SHOWS)}')
    if show == "filters" and layer is not None:
        raise UsageError("a layer is for patterns; allowed with it: --show patterns or both")
    sheets = draw_film(
        run,
        read_events(run),
        show=show,
        network=network,
        dataset=dataset,
        layer=layer,
        channel=channel,
        seed=seed,
        progress=progress,
    )
    save_animation(
        target, sheets.images, frames_per_second=frames_per_second, hold=HOLD, about=f"{run.name}: {sheets.caption}"
    )
    return Film(target, len(sheets.images), sheets.skipped, sheets.caption)


def draw_film(
    run: Path,
    events: Sequence[Event],
    *,
    show: Show = "filters",
    network: Network | None = None,
    dataset: Dataset | None = None,
    layer: str | None = None,
    channel: Channels = None,
    seed: int = 0,
    compact: bool = False,
    progress: Progress = no_progress,
) -> Sheets:
    """The film's images; `compact` leaves out the panel of the start. See `render_film`."""
    info = read_info(run)
    told = [event.step for event in events if event.kind == "film"]
    if seed < 0:
        raise UsageError(f"seed {seed}; allowed: 0 or more")
    if info is None:
        raise UsageError(f"{run} has no film: it was trained without one; to get one, train it anew")
    if not told:
        raise UsageError(f"the film of {run} has no frame yet; its first comes when the training begins")
    caption: list[str] = []
    panels: dict[int, list[Panel]] = {}
    skipped = 0
    if show != "patterns":
        frames = read_frames(run, told)
        if channel is not None and show == "filters":
            frames = chosen_filters(info, frames, channel)
        skipped += len(set(told)) - len(frames)
        compact = compact or show == "both"
        panels = _filter_panels(info, frames, compact=compact)
        caption.append(_filters_reading(frames[0], compact=compact))
    if show != "filters":
        from convscope.film.patterns import follow_patterns, patterns_reading

        if network is None:
            raise UsageError("a film of patterns needs the run's network")
        kept = weights_steps(run, told)
        patterns = follow_patterns(
            run, network, kept, dataset, layer=layer, channel=channel, seed=seed, progress=progress
        )
        skipped += len({event.step for event in events if event.kind == "film" and event.data["weights"]})
        skipped -= len(patterns)
        panels = with_patterns(panels, patterns)
        caption.append(patterns_reading())
    images = draw_sheets(panels, Story(events), progress=progress)
    caption.append("Within a phase the frames lie ever farther apart, as the marks on the time line show.")
    return Sheets(images, list(panels), skipped, " ".join(caption))


def draw_sheets(
    panels: Mapping[int, Sequence[Panel]], story: Story, *, progress: Progress = no_progress
) -> list[np.ndarray]:
    """The panels of each step as an image (H, W, 3) uint8, with the training's time line below."""
    images: list[np.ndarray] = []
    taken = [step / story.last for step in panels]
    spans = [Span(*span) for span in story.spans()]
    for number, (step, shown) in enumerate(panels.items()):
        images.append(draw_sheet(shown, story.words(step), now=step / story.last, spans=spans, taken=taken))
        progress("drawing the film", number + 1, len(panels))
    return images


def read_frames(run: Path, told: Sequence[int]) -> list[Frame]:
    """The frames that can be read. Raises CheckpointError where none can."""
    frames: list[Frame] = []
    why = f"{run} has no frame of its film any more"
    for step in recorded_steps(run, told):
        try:
            frame = read_frame(run, step)
        except CheckpointError as error:
            why = str(error)
            continue
        if not np.isfinite(frame.filters).all() or (frames and frame.filters.shape != frames[0].filters.shape):
            why = f"the filters of step {step} are not finite, or of another shape than those before"
            continue
        frames.append(frame)
    if not frames:
        raise CheckpointError(f"none of the film's {len(set(told))} frames can be read: {why}")
    return frames


def chosen_filters(info: FilmInfo, frames: Sequence[Frame], channel: Channels) -> list[Frame]:
    """The frames with some of their filters. Raises UsageError for channels that are not."""
    from convscope.methods.needs import choose_channels

    chosen = choose_channels(channel, len(frames[0].filters), layer=info.filter_layer)
    return [frame._replace(filters=frame.filters[chosen]) for frame in frames]


def _filter_panels(info: FilmInfo, frames: Sequence[Frame], *, compact: bool) -> dict[int, list[Panel]]:
    """For each step the filters before, now, and what has changed, each on one scale for the whole film."""
    changes = [frame._replace(filters=frame.filters.astype(np.float32) - frames[0].filters) for frame in frames]
    limit, change_limit = (film_scale(map(frame_scale, each)).filters for each in (frames, changes))

    def panel(heading: str, frame: Frame, limit: float) -> Panel:
        picture = filters_picture(info, frame, limit=limit)
        return Panel(f"{heading}, ±{limit:.2g}", replace(picture, captions=()))

    said = _said_before(frames[0].step)
    before = [] if compact else [panel(f"{said}: filters of {info.filter_layer}", frames[0], limit)]
    now = f"now: filters of {info.filter_layer}"
    return {
        frame.step: [*before, panel(now, frame, limit), panel("their change", change, change_limit)]
        for frame, change in zip(frames, changes, strict=True)
    }


def with_patterns(panels: dict[int, list[Panel]], patterns: Mapping[int, Picture]) -> dict[int, list[Panel]]:
    """The panels of each step, where there are any, with the first and the newest patterns beside them."""
    first = patterns[min(patterns)]
    before = Panel(f"{_said_before(min(patterns))}: {first.title}", first)
    shown: dict[int, list[Panel]] = {}
    for step in panels or patterns:
        newest = max((each for each in patterns if each <= step), default=min(patterns))
        when = "now" if newest == step else f"after step {newest:,}"
        shown[step] = [*panels.get(step, []), before, Panel(f"{when}: {first.title}", patterns[newest])]
    return shown


def _said_before(step: int) -> str:
    """What the first frame shows, in a word."""
    return f"after step {step:,}" if step else "before"


def _filters_reading(first: Frame, *, compact: bool) -> str:
    """How to read the filters."""
    start = "training began" if first.step == 0 else f"step {first.step:,}, the first frame that is left"
    before = "" if compact else "before training, " if first.step == 0 else f"after step {first.step:,}, "
    return (
        f"The filters of the first convolution {before}at each step, and their change since {start}, on a scale of "
        "its own. Mid grey is zero. In each panel a colour means the same value in every frame: its scale ends at "
        "the number above it, beyond which few values lie."
    )
