"""A layer's table says what its survey says, and is sorted and filtered as asked."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from convscope.errors import UsageError
from convscope.methods.surveys.layer_table import ChannelRow, choose_rows, make_layer_table
from convscope.methods.surveys.tally import LayerSurvey, Tally


def a_survey() -> LayerSurvey:
    """Channel 0 answers to class 1 alone, 1 is dead, 3 is twice channel 2, 4 answers to class 0 a little more."""
    torch.manual_seed(0)
    maps = torch.rand(40, 5, 3, 3)
    labels = torch.arange(40) % 2
    maps[labels == 0, 0] = 0
    maps[:, 1] = -1
    maps[:, 3] = 2 * maps[:, 2]
    maps[labels == 0, 4] += 0.5
    tally = Tally(maps, layer="a", count=2, images=40, classes=2)
    tally.add(maps, torch.nn.functional.one_hot(labels).float())
    return tally.survey()


@pytest.fixture(scope="module")
def table() -> list[ChannelRow]:
    return make_layer_table(a_survey())


def channels(rows: list[ChannelRow]) -> list[int]:
    return [row.channel for row in rows]


def test_rows_say_what_the_survey_says(table):
    survey = a_survey()
    assert channels(table) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal([row.maximum for row in table], survey.maxima)
    np.testing.assert_array_equal([row.mean for row in table], survey.means)
    np.testing.assert_array_equal([row.class_means for row in table], survey.class_means.T)
    assert [row.dead for row in table] == [False, True, False, False, False]
    assert [row.duplicate_of for row in table] == [None, None, 3, 2, None]
    assert table[0].selectivity == pytest.approx(1)
    assert (table[0].favourite, table[4].favourite) == (1, 0)
    assert table[1].share_of_zeros == 1


def test_rows_are_sorted_and_filtered(table):
    assert channels(choose_rows(table)) == [0, 1, 2, 3, 4]
    assert channels(choose_rows(table, descending=True)) == [4, 3, 2, 1, 0]
    by_maximum = sorted(range(5), key=lambda channel: -table[channel].maximum)
    assert channels(choose_rows(table, sort="maximum")) == by_maximum
    assert channels(choose_rows(table, sort="maximum", descending=False)) == by_maximum[::-1]
    assert channels(choose_rows(table, kind="dead")) == [1]
    assert channels(choose_rows(table, kind="live")) == [0, 2, 3, 4]
    assert channels(choose_rows(table, kind="duplicate", sort="maximum")) == [3, 2]
    assert channels(choose_rows(table, kind="selective")) == [0]
    favoured = [row.channel for row in table if row.favourite == 0 and not row.dead]
    assert channels(choose_rows(table, favourite=0)) == favoured
    assert 1 not in favoured
    together = choose_rows(table, sort="favourite")
    assert together[-1].channel == 1
    assert [row.favourite for row in together[:-1]] == sorted(row.favourite for row in together[:-1])


def test_equal_rows_keep_their_order(table):
    equal = [ChannelRow(index, 1.0, 0.0, 0.0, 0.0, 0, (), False, None, 0.0) for index in (3, 1, 2)]
    assert channels(choose_rows(equal, sort="maximum")) == [3, 1, 2]


def test_mistakes_are_told(table):
    with pytest.raises(UsageError, match='no column "maximun"; closest: maximum, mean; allowed: channel, maximum'):
        choose_rows(table, sort="maximun")
    with pytest.raises(UsageError, match='no kind "alive"; .*allowed: all, live, dead, duplicate, selective'):
        inspect.unwrap(choose_rows)(table, kind="alive")
