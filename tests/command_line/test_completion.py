"""The completion scripts are ones that their shells read, and offer commands, flags and what flags take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from convscope.cli import app, main
from convscope.command_line.completion import completion_script

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_convscope
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(completion_script(app, shell))
    return folder


def offered(scripts, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    asked = subprocess.run(
        ["bash", "--norc", "-c", ASK, "ask", scripts / "bash", *words], capture_output=True, text=True, check=True
    )
    return set(asked.stdout.split())


@pytest.mark.parametrize(("shell", "flags"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_the_shell_reads_its_script(scripts, shell, flags):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    read = subprocess.run([shell, *flags, scripts / shell], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def test_commands_are_offered(scripts):
    commands = {name for name in app if not name.startswith("-")}
    assert offered(scripts, "convscope", "") == commands
    assert offered(scripts, "convscope", "ma") == {"maps", "maximize"}


def test_flags_of_methods_and_commands_are_offered(scripts):
    assert {"--layer", "--parameterization", "--steps", "--out", "-o", "--help"} <= offered(
        scripts, "convscope", "maximize", "latest", "-"
    )
    assert offered(scripts, "convscope", "train", "digits", "--re") == {"--recipe"}
    assert "--layer" not in offered(scripts, "convscope", "train", "digits", "--")


def test_what_a_flag_takes_is_offered(scripts):
    taken = offered(scripts, "convscope", "reconstruct", "latest", "--rule", "")
    assert taken == {"deconvnet", "guided", "gradient"}
    assert offered(scripts, "convscope", "completion", "z") == {"zsh"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_scripts_name_every_command_and_a_methods_flags(scripts, shell):
    script = (scripts / shell).read_text()
    assert [name for name in app if not name.startswith("-") and name not in script] == []
    assert "parameterization" in script
    assert "deconvnet" in script


def test_files_are_offered_where_nothing_better_is_known(scripts):
    zsh = (scripts / "zsh").read_text()
    assert "'1:A run folder, or latest.:_files'" in zsh
    assert re.search(r"^ +'\*--image\[[^\n]+\]:image:_files'", zsh, re.MULTILINE)
    assert "'1: :->cmds'" in zsh
    assert "_files:_files" not in zsh
    assert "complete -o default -F _convscope convscope" in (scripts / "bash").read_text()


def test_printing_a_script_starts_neither_torch_nor_anything_else():
    code = (
        "import sys\nfrom convscope.cli import main\n"
        "try: main(['completion', 'bash'])\nexcept SystemExit as end: assert not end.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("# Bash completion for convscope")
    assert ended.stderr == ""


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["completion", "tcsh"])
    assert end.value.code == 2
    assert "bash" in capsys.readouterr().err
