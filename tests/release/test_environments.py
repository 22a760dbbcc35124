"""The container's recipe, conda's environment and the citation say the same as pyproject.toml."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from convscope.cli import app
from convscope.web.place import find_place
from tests.release.archives import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CALLED_BY_CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base", "docstring-parser": "docstring_parser"}
TESTED = ("3.11", "3.12", "3.13")


def instructions() -> list[tuple[str, str]]:
    """The recipe's instructions and what follows each, comments left out and lines joined."""
    lines = [line for line in recipe().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def recipe() -> str:
    return (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_the_recipe_is_one_that_a_builder_reads():
    known = {"ARG", "FROM", "RUN", "COPY", "USER", "WORKDIR", "EXPOSE", "ENTRYPOINT", "CMD"}
    words = [word for word, _ in instructions()]
    assert set(words) <= known
    assert words.index("FROM") == 1
    assert words[0] == "ARG", "FROM's own argument stands before it"
    declared = {rest.partition("=")[0] for word, rest in instructions() if word == "ARG"}
    used = set(re.findall(r"\$\{(\w+)\}", "\n".join(rest for word, rest in instructions() if word != "ARG")))
    assert used == declared


def test_the_image_is_for_a_python_that_we_are_for_and_takes_extras_that_there_are():
    given = dict(rest.partition("=")[::2] for word, rest in instructions() if word == "ARG")
    assert given["PYTHON"] in TESTED
    assert given["EXTRAS"] in EXTRAS
    named = re.search(r"# What else is installed: (.+)\.", recipe())[1].split(", ")
    assert set(named) == set(EXTRAS) - {"dev", "docs", "pictures"}
    assert given["TORCH"] == "cpu"
    assert "--build-arg TORCH=cu" in recipe()


def test_it_copies_what_the_wheel_is_built_from_and_nothing_else_gets_near():
    copied = {name for word, rest in instructions() if word == "COPY" for name in rest.split()[:-1]}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert copied == {"pyproject.toml", "src", PROJECT["readme"], *PROJECT["license-files"]}
    assert build["tool"]["hatch"]["version"]["path"].startswith("src/")
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_what_runs_in_it_is_no_root_and_comes_after_the_installation():
    words = [word for word, _ in instructions()]
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users == ["scope"]
    assert "useradd" in instructions()[words.index("USER") - 1][1]
    assert words.index("USER") > max(index for index, word in enumerate(words) if word in ("RUN", "COPY"))
    assert words.index("ENTRYPOINT") > words.index("USER")


def test_the_commands_of_its_comments_exist_and_keep_the_rule_of_loopback():
    text = re.sub(r"\\\n#\s+", "", "\n".join(line for line in recipe().splitlines() if line.startswith("#")))
    runs = [shlex.split(line.lstrip("# "))[2:] for line in text.splitlines() if line.startswith("#   podman run")]
    assert len(runs) == 3
    for words in runs:
        arguments = words[words.index("convscope") + 1 :]
        app.parse_args(arguments, exit_on_error=False, print_error=False)
        published = [words[index + 1] for index, word in enumerate(words) if word == "-p"]
        assert all(each.startswith("127.0.0.1:") for each in published), "other machines would reach it"
        if published:
            name = words[words.index("--hostname") + 1]
            assert arguments[arguments.index("--host") + 1] == name
            assert f'write "127.0.0.1 {name}"' in text.replace("\n# ", " ")
            [port] = [rest for word, rest in instructions() if word == "EXPOSE"]
            assert published == [f"127.0.0.1:{port}:{port}"]
        elif "watch" in arguments:
            assert words[words.index("--network") + 1] == "host"


def test_a_name_of_this_machine_is_served_where_that_is_said_twice(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("192.0.2.7", 0))])
    assert find_place("scope", expose=True).names == ("scope",)
    assert find_place("scope", expose=True).address == ("192.0.2.7", 0)


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_conda_installs_what_pip_would():
    listed = [each for each in conda()["dependencies"] if isinstance(each, str)]
    asked = {name: bound for name, _, bound in (each.partition(" ") for each in listed)}
    wanted = [Requirement(each) for each in (*PROJECT["dependencies"], *EXTRAS["zoo"])]
    bounds = {CALLED_BY_CONDA.get(each.name, each.name): str(each.specifier) for each in wanted}
    assert {name: bound for name, bound in asked.items() if name not in ("python", "pip")} == bounds
    python = SpecifierSet(asked["python"])
    assert python.contains("3.11.0")
    assert all(python.contains(version) for version in TESTED)
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.11.0")
    assert conda()["dependencies"][-1] == {"pip": ["--editable ."]}
    assert conda()["channels"][0] == "conda-forge"


def test_the_citation_is_whole_and_of_this_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format requires
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert set(citation["keywords"]) <= set(PROJECT["keywords"])


@pytest.mark.parametrize("name", ["Containerfile", ".containerignore", "environment.yml", "CITATION.cff"])
def test_they_name_no_machine_and_no_registry(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|/work/|/tmp/|\.(io|org|com)/", text)
