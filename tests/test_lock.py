"""The lock pins all that development needs, by hash, from nowhere in particular; and the audit says what it knows."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
PINNED = re.findall(r"^([a-z0-9.-]+)==(\S+)(.*(?:\n    --hash=\S+.*)*)", LOCK, re.MULTILINE)


def test_every_package_has_the_hashes_of_its_files():
    assert len(PINNED) > 100
    assert [name for name, _, rest in PINNED if not re.search(r"--hash=sha256:[0-9a-f]{64}", rest)] == []
    assert len(PINNED) == len(re.findall(r"==.*\\$", LOCK, re.MULTILINE))


def test_it_says_of_no_place_where_packages_come_from():
    assert "://" not in LOCK
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK


def test_it_pins_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(line) for line in (*project["dependencies"], *extras["dev"], *extras["zoo"])]
    for each in wanted:
        versions = [Version(version) for name, version, _ in PINNED if name == each.name.lower().replace("_", "-")]
        assert each.name == "convscope" or versions, f"{each.name} is not in the lock: run scripts/lock"
        assert all(each.specifier.contains(version) for version in versions), (
            f"{each} is {versions}: run scripts/lock"
        )


HOLE = {"id": "PYSEC-1", "fix_versions": ["9"]}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ([{"name": "jinja2", "version": "1", "vulns": []}], 0, "audited 1 packages, 0 known holes"),
        ([{"name": "jinja2", "version": "1", "vulns": [HOLE]}], 1, "jinja2 1: PYSEC-1, mended in 9"),
        ([{"name": "jinja2", "skip_reason": "not found"}], 0, "NOT AUDITED for known holes: its data cannot be"),
        (None, 0, "NOT AUDITED for known holes: no network"),
    ],
)
def test_the_audit_fails_for_a_hole_and_says_when_it_cannot_look(tmp_path, answer, code, said):
    fake = tmp_path / "pip_audit"
    fake.mkdir()
    (fake / "__init__.py").touch()  # a whole package: it goes before one that is installed
    told = f"print({json.dumps({'dependencies': answer})!r})" if answer else "import sys; sys.exit('no network')"
    (fake / "__main__.py").write_text(told)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "audit")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert said in ended.stdout
