"""`convscope explore`: a network opened in the browser.

from convscope.training.run import open_run
from convscope.web.explorer.explore import explore

run = open_run("runs/digits")
explore(
    lambda: (run.network(say=print), run.dataset()), run.path, port=None, open_browser=True, say=print, warn=print
)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from convscope.web.explorer.doorway import POSTS, Doorway
from convscope.web.explorer.early import describe_early, keep_description
from convscope.web.server import serve

if TYPE_CHECKING:
    from convscope.types import Dataset, Network, Say
    from convscope.web.explorer.routes import Explorer


def explore(
    open_network: Callable[[], tuple[Network, Dataset | None]],
    run: Path | None = None,
    *,
    images: Path | None = None,
    arguments: Sequence[str] = (),
    port: int | None,
    open_browser: bool,
    say: Say,
    warn: Say,
    host: str | None = None,
    expose: bool = False,
) -> None:
    """Show a network until Ctrl-C or SIGTERM; `say` is called with the page's address.

    The page is there at once; `open_network` gives the network and its images, if it has any, meanwhile. `run` is the
    folder of its run, where there is one; `images` a folder of images to look at. `arguments` are the words that name
    the network in a command, by default the run's folder or the network's name. What is computed is kept in the run's
    folder, or in the user's cache. `host` and `expose` are those of `server.serve`. Raises UsageError for a folder
    without images and a port that is taken, and what `open_network` raises.
    """

    def open_explorer() -> Explorer:
        from convscope.methods.surveys.survey_store import weights_identity
        from convscope.web.explorer.explored import Explored
        from convscope.web.explorer.routes import Explorer

        network, dataset = open_network()
        store = run or user_cache_path("convscope", appauthor=False) / "explored" / weights_identity(network)[:16]
        words = arguments or [str(run or network.name)]
        explored = Explored(network, run, dataset, images=images, store=store, arguments=words)
        if run:
            keep_description(run, explored.description)
        return Explorer(explored, network, warn=warn)

    def describe() -> dict[str, Any]:
        return describe_early(run, (arguments or [str(run)])[0]) if run else {}

    doorway = Doorway(open_explorer, describe)
    try:
        serve(
            doorway,
            port=port,
            open_browser=open_browser,
            say=say,
            close_streams=doorway.close,
            on_start=doorway.on_failure,
            posts=POSTS,
            host=host,
            expose=expose,
            warn=warn,
        )
    finally:
        doorway.close()
        doorway.join()
