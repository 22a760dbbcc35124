"""The package that docs/extending.md writes is found and used, as it is written there."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from PIL import Image

from tests.docs.blocks import ROOT, blocks, commands
from tests.installed import install

PAGE = ROOT / "docs" / "extending.md"

CALLS = """
import json, sys
from tests.docs.reader import call
for arguments in json.loads(sys.argv[1]):
    call(*arguments)
"""


def test_the_package_of_the_page_works_as_written(tmp_path: Path):
    for block in blocks(PAGE):
        if block.file:
            (tmp_path / block.file).parent.mkdir(exist_ok=True)
            (tmp_path / block.file).write_text(block.text)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    install(tmp_path, project)
    [used] = [block for block in blocks(PAGE) if block.language == "shell"]
    calls = commands(used.text)
    assert len(calls) == 4
    answer = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(calls)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert f"stripes: {project['description']} (my-stripes 1.0)" in answer.stdout
    accuracy = next(line for line in answer.stdout.splitlines() if line.startswith("test_accuracy: "))
    assert float(accuracy.partition(": ")[2]) > 0.9, "the network does not tell lying stripes from standing ones"
    for picture in ("spectra.png", "deeper.png"):
        with Image.open(tmp_path / picture) as image:
            assert image.text["Method"] == "spectra"
            assert min(image.size) > 30
    assert f"channels: {', '.join(map(str, range(8)))}" in answer.stdout
