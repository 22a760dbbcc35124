"""A layer's table says what its survey says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope.methods.surveys.layer_table import make_layer_table
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


def test_rows_say_what_the_survey_says():
    survey = a_survey()
    table = make_layer_table(survey)
    assert [row.channel for row in table] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal([row.maximum for row in table], survey.maxima)
    np.testing.assert_array_equal([row.mean for row in table], survey.means)
    np.testing.assert_array_equal([row.class_means for row in table], survey.class_means.T)
    assert [row.dead for row in table] == [False, True, False, False, False]
    assert [row.duplicate_of for row in table] == [None, None, 3, 2, None]
    assert table[0].selectivity == pytest.approx(1)
    assert (table[0].favourite, table[4].favourite) == (1, 0)
    assert table[1].share_of_zeros == 1
