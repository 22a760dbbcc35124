"""What makes a shell complete convscope's commands and flags at a press of Tab."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Literal

from cyclopts import App

Shell = Literal["bash", "zsh", "fish"]


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
    return script.replace("complete -F ", "complete -o default -F ") if shell == "bash" else script
