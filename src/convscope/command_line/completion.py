"""What makes a shell complete convscope's commands and flags at a press of Tab."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Literal

from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]

ZSH_WITHOUT_ACTION = re.compile(
    r"""^(\s+'(?:\d+|\*):(?:\\.|'\\''|[^'\\:])*  # an argument and what it is
    |\s+'\*?-[^\n]*\]:[\w-]+)'                 # or a flag's value
    (?=\ ?\\?$)                              # and nothing on what to offer
    """,
    re.MULTILINE | re.VERBOSE,
)


def completion_command(app: App) -> Callable[[Shell], None]:
    """The command that prints the script for a shell; the script knows every command and flag, and starts nothing."""

    def completion(shell: Shell, /) -> None:
        """Print what makes your shell complete commands and flags; write it where the shell looks for such.

        Parameters
        ----------
        shell
            The shell: bash, zsh or fish.
        """
        sys.stdout.write(completion_script(app, shell))

    return completion


def completion_script(app: App, shell: Shell) -> str:
    """The script of that shell; where convscope knows no better, files are offered."""
    script = app.generate_completion(shell=shell)
    if shell == "bash":
        return script.replace("complete -F ", "complete -o default -F ")
    return ZSH_WITHOUT_ACTION.sub(r"\1:_files'", script) if shell == "zsh" else script
