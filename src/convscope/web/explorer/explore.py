"""`convscope explore`: a network opened in the browser.

from convscope.data import load_dataset
from convscope.training.run import open_run
from convscope.web.explorer.explore import explore

run = open_run("runs/digits")
explore(run.network(say=print), run.path, run.dataset(), port=None, open_browser=True, say=print, warn=print)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from platformdirs import user_cache_path

from convscope.methods.survey_store import weights_identity
from convscope.types import Dataset, Network
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.routes import POSTS, Explorer
from convscope.web.server import serve


def explore(
    network: Network,
    run: Path | None = None,
    dataset: Dataset | None = None,
    *,
    images: Path | None = None,
    arguments: Sequence[str] = (),
    port: int | None,
    open_browser: bool,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    host: str | None = None,
    expose: bool = False,
) -> None:
    """Show a network until Ctrl-C or SIGTERM; `say` is called with the page's address.

    `run` is the folder of its run, where there is one; `images` a folder of images to look at. `arguments` are the
    words that name the network in a command, by default the run's folder or the network's name. What is computed is
    kept in the run's folder, or in the user's cache. `host` and `expose` are those of `server.serve`. Raises
    UsageError for a folder without images and a port that is taken.
    """
    store = run or user_cache_path("convscope", appauthor=False) / "explored" / weights_identity(network)[:16]
    explored = Explored(
        network,
        run,
        dataset,
        images=images,
        store=store,
        arguments=arguments or [str(run or network.name)],
    )
    explorer = Explorer(explored, network, warn=warn)
    try:
        serve(
            explorer.app,
            port=port,
            open_browser=open_browser,
            say=say,
            close_streams=explorer.close,
            posts=POSTS,
            host=host,
            expose=expose,
            warn=warn,
        )
    finally:
        explorer.close()
        explorer.join()
