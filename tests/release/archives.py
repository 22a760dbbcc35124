"""What a release is made of: the two archives, and an environment in which the wheel alone is convscope."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]

FILTER = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11 has it from 3.11.4 on."""


def build(project: Path, folder: Path, *targets: str) -> None:
    """Build a "wheel" or "sdist" of the project's folder into another, as `python -m build --no-isolation` does."""
    flags = [flag for target in targets for flag in ("--target", target)]
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), *flags]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def unpack(sdist: Path, folder: Path) -> Path:
    """The project's folder in a source archive."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **FILTER)
    [project] = folder.iterdir()
    return project


def clean_environment(wheel: Path, folder: Path) -> Path:
    """The bin folder of a new environment in which pip installed the wheel.

    Its dependencies are those of this environment, which a .pth file names; this environment's own .pth files, by
    one of which convscope is here, are not read that way.
    """
    venv.create(folder, with_pip=False)
    binaries = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(binaries / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    inside = Path(sysconfig.get_path("purelib", vars=paths))
    (inside / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return binaries


def call(*command: str | Path, folder: Path) -> str:
    """What a command prints that is called in a folder, by an environment of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST", "VIRTUAL"))}
    ended = subprocess.run(
        [str(each) for each in command], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout
