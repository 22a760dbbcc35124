"""Some of the strangers at every route of both pages, and some of the paths; scripts/soak sends all of them."""

import random

import pytest

from tests.faults.web import SECRET, addresses, apps, attacks, strangers
from tests.web.served import serving


@pytest.fixture
def pages(tmp_path):
    with apps(tmp_path) as found:
        yield found


def test_strangers_are_refused_at_every_route(pages):
    for page in pages:
        assert len(addresses(page.app)) > 10
        answers = list(strangers(page, every=7))
        assert len(answers) > 60
        assert [who for who, status in answers if status != 403] == []


def test_no_path_leads_out(pages, tmp_path):
    with serving(tmp_path / "runs") as address:
        found = list(attacks(address, count=200, dice=random.Random(0)))
    assert [(path, fault) for path, fault in found if fault] == []
    assert len({path for path, _ in found}) > 150
    assert (tmp_path / "runs" / "secret.txt").read_text() == SECRET
