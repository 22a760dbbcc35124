"""The wheel and the source archive hold what they should, say what they are, and work where there is no other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import convscope
from convscope.cli import app
from tests.docs.blocks import commands
from tests.release.archives import ROOT, build, call, clean_environment, unpack

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = convscope.__version__


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with both archives."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "wheel", "sdist")
    return folder


@pytest.fixture(scope="module")
def wheel(made: Path) -> Path:
    return made / f"convscope-{VERSION}-py3-none-any.whl"


@pytest.fixture(scope="module")
def source(made: Path, tmp_path_factory) -> Path:
    """The project as the source archive has it."""
    return unpack(made / f"convscope-{VERSION}.tar.gz", tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"convscope-{VERSION}.dist-info/METADATA").decode())


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        told = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    package = ROOT / "src"
    ours = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert names == {name for name in ours if "__pycache__" not in name}
    assert {"convscope/py.typed", "convscope/report/templates/report.html.j2"} <= names
    assert told == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_the_source_archive_holds_what_is_kept_under_version_control(source):
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if kept.returncode:
        pytest.skip("this is no checkout")
    left_out = {".gitattributes", ".ci/run"}  # of no use without git
    files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    wanted = {name for name in kept.stdout.splitlines() if (ROOT / name).exists()} - left_out
    assert wanted - files == set()
    assert {"src", "tests", "docs", "examples", "bench", "scripts"} <= {path.name for path in source.iterdir()}
    assert not [name for name in files if name.startswith(("runs/", "data/", "build/", "dist/"))]


def test_the_source_archive_makes_the_very_same_wheel(source, wheel, tmp_path):
    build(source, tmp_path, "wheel")
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_metadata_is_the_projects_and_complete(metadata):
    assert metadata["Name"] == "convscope"
    assert metadata["Version"] == VERSION
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# convscope")
    for field in ("Summary", "Author", "Keywords"):
        assert metadata[field], field
    required = [Requirement(each) for each in metadata.get_all("Requires-Dist")]
    plain = {str(each) for each in required if "extra" not in str(each.marker or "")}
    assert plain == {str(Requirement(each)) for each in PROJECT["dependencies"]}
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


def test_the_classifiers_name_the_versions_of_python_that_it_is_for(metadata):
    classifiers = metadata.get_all("Classifier")
    named = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    assert named == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={named[0]}"
    assert "Typing :: Typed" in classifiers
    assert not [each for each in classifiers if each.startswith("License ::")], "the licence is an expression"


def test_the_version_stands_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    named = [ROOT / name for name in ("pyproject.toml", "CITATION.cff", "environment.yml", "Containerfile")]
    told = [path.name for path in named if re.search(rf"\b{re.escape(VERSION)}\b", path.read_text())]
    assert told == []


def test_the_wheel_alone_is_convscope_in_a_clean_environment(wheel, tmp_path):
    binaries = clean_environment(wheel, tmp_path / "clean")
    where = call(binaries / "python", "-c", "import convscope; print(convscope.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "clean")
    assert call(binaries / "convscope", "--version", folder=tmp_path).strip() == VERSION
    assert "report.html" in call(binaries / "convscope", "run", "--help", folder=tmp_path)
    assert call(binaries / "convscope", "models", folder=tmp_path).startswith("resnet18: ")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_readme_docs_and_notebooks_work_with_the_wheel_in_a_clean_environment(wheel, source, tmp_path):
    binaries = clean_environment(wheel, tmp_path / "clean")
    project = shutil.copytree(source, tmp_path / "project")
    shutil.rmtree(project / "src")  # so that what is imported is the wheel's
    where = call(binaries / "python", "-c", "import convscope; print(convscope.__file__)", folder=project)
    assert Path(where.strip()).is_relative_to(tmp_path / "clean")
    run = [binaries / "python", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    printed = call(*run, "tests/docs", "tests/examples", "tests/test_public.py", folder=project)
    assert re.search(r"\d+ passed", printed)
    assert "failed" not in printed


def test_the_first_use_is_what_the_readme_says():
    loader = SourceFileLoader("first_use", str(ROOT / "scripts" / "first_use"))
    first_use = module_from_spec(spec_from_loader("first_use", loader))
    loader.exec_module(first_use)
    install, look = first_use.commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert install.startswith("pip install '.[")
    [arguments] = commands(look)
    assert first_use.PHOTOGRAPH in arguments
    app.parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_stranger_gets_to_the_first_picture_by_the_readme_alone(tmp_path):
    """The timed first use: needs a package index, and some gigabytes."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp_path, "packaging"],
        capture_output=True,
        check=False,
    )
    if asked.returncode:
        pytest.skip("no package index is reached from here")
    printed = call(sys.executable, ROOT / "scripts" / "first_use", "--work", tmp_path / "work", folder=tmp_path)
    assert "commands to the picture cat.png" in printed
