"""The comparison's charts draw what the logs and tables say, and its pictures put partners beside each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from convscope.methods.similarity.channel_matching import match_channels
from convscope.paint import PAPER
from convscope.report import comparison_pictures
from convscope.report.charts import svg
from convscope.report.comparison_charts import Alike, class_differences, likeness_by_depth, likeness_maps, seed_dots
from convscope.report.comparison_curves import COLOURS, accuracy_costs, over_seeds, overlaid
from convscope.report.comparison_pictures import AROUND, BETWEEN, filter_pairs, pattern_pairs
from convscope.report.contenders import find_contenders
from convscope.report.standings import Difference, standing_of
from convscope.types import Network
from tests.planted import small
from tests.report.test_comparison_page import ADAM, SGD, log, planted


@pytest.fixture
def contenders():
    accuracies = {("sgd", 0): [0.2, 0.4], ("sgd", 1): [0.4, 0.5], ("both", 0): [0.5, 0.6, 0.7]}
    phases = {"sgd": [SGD], "both": [ADAM, SGD]}
    return find_contenders(
        [
            planted(name, *phases[name], network=None, seed=seed, events=log(values))
            for (name, seed), values in accuracies.items()
        ]
    )


def points(axes, colour: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]
        for line in axes.get_lines()
        if line.get_color() == colour
    ]


def test_curves_are_means_over_seeds_in_a_band(contenders):
    test, train, loss, _ = overlaid(contenders, "step", epochs=True).axes
    assert points(test, COLOURS[0]) == [[(10, pytest.approx(0.3)), (20, pytest.approx(0.45))]]
    (band,) = test.collections
    corners = {(float(x), round(float(y), 3)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(10, 0.2), (20, 0.4), (10, 0.4), (20, 0.5)}
    borders = [line for line in points(test, COLOURS[1]) if line[0][0] == line[1][0]]
    assert [line[0][0] for line in borders] == [20], "the phase that begins after step 20"
    assert len(points(train, COLOURS[0])) == 2, "evaluations, and pale the batches"
    assert points(loss, COLOURS[1])[0] == [(10, 1.0), (20, 0.5), (30, pytest.approx(1 / 3))]


def test_curves_by_epoch_and_by_time(contenders):
    by_epoch, by_time = (overlaid(contenders, axis).axes[0] for axis in ("epoch", "time"))
    assert [x for x, _ in points(by_epoch, COLOURS[0])[0]] == [1, 2]
    assert [x for x, _ in points(by_time, COLOURS[1])[0]] == [10, 20, 30]


@pytest.mark.parametrize(("longest", "unit"), [(100, "seconds"), (1000, "minutes"), (30_000, "hours")])
def test_time_is_told_in_a_unit_that_suits_it(longest, unit):
    events = [dataclasses.replace(event, time=event.time * longest / 20) for event in log([0.2, 0.4], finished=False)]
    figure = overlaid(find_contenders([planted("sgd", SGD, network=None, events=events)]), "time")
    assert figure.axes[2].get_xlabel() == f"{unit} of training"
    figure.draw_without_rendering()
    ticks = np.array(figure.axes[2].get_xticks()) / {"seconds": 1, "minutes": 60, "hours": 3600}[unit]
    gap = ticks[1] - ticks[0]
    assert round(gap / 10 ** np.floor(np.log10(gap)), 6) in (1, 2, 5)


def test_seeds_that_were_looked_at_at_other_times_are_read_off_their_lines():
    x, mean, low, high = over_seeds([([0, 10], [0, 10]), ([5, 15], [1, 1])])
    np.testing.assert_allclose(x, [5, 10])
    np.testing.assert_allclose(mean, [3, 5.5])
    np.testing.assert_allclose(low, [1, 1])
    np.testing.assert_allclose(high, [5, 10])
    assert over_seeds([([0, 1], [0, 0]), ([2, 3], [0, 0])]) is None
    assert over_seeds([([], [])]) is None


def test_a_phase_stands_in_the_chart_of_times_only_where_its_line_still_is():
    def borders(slower: float) -> list[float]:
        slow, quick = log([0.2, 0.4, 0.5, 0.6]), log([0.2, 0.4, 0.5, 0.6])
        slow = [dataclasses.replace(event, time=event.time * slower) for event in slow]
        both = [
            planted("both", ADAM, SGD, network=None, seed=seed, events=each)
            for seed, each in enumerate([slow, quick])
        ]
        drawn = points(overlaid(find_contenders(both), "time").axes[0], COLOURS[0])
        return [line[0][0] for line in drawn if line[0][0] == line[1][0]]

    assert borders(1.0) == [20]
    assert borders(3.0) == borders(10.0) == []  # the slow seed changes its phase when the quick one has long ended


def test_charts_of_runs_that_only_began():
    contenders = find_contenders([planted("sgd", SGD, network=None, events=[]), planted("adam", ADAM, network=None)])
    for figure in (overlaid(contenders, "step"), overlaid(contenders, "time"), accuracy_costs(contenders)):
        assert svg(figure, name="x", label="")


def test_a_line_of_costs_is_the_first_evaluation_that_had_the_accuracy(contenders):
    epochs, _ = accuracy_costs(contenders).axes
    (line,) = points(epochs, COLOURS[1])
    assert line[0] == (0.5, 1)
    assert line[-1] == (pytest.approx(0.7), 3)
    assert {y for x, y in line if 0.5 < x <= 0.6} == {2}


def test_dots_are_seeds_and_the_bar_their_mean(contenders):
    (axes,) = seed_dots([standing_of(each) for each in contenders], 300).axes
    assert points(axes, COLOURS[0]) == [
        [(pytest.approx(0.45), -0.28), (pytest.approx(0.45), 0.28)],
        [(0.4, 0), (0.5, 0)],
    ]
    interval, dot = points(axes, COLOURS[1])
    assert dot == [(0.7, 1)]
    assert interval[0][0] < 0.7 < interval[1][0]


def test_classes_show_the_difference_and_what_chance_makes():
    seeds = np.array([[0.2, np.nan, 0.1, 0.05]])
    found = Difference(seeds[0], np.array([0.1, np.nan, 0.3, 0.01]), seeds, np.ones(4, bool))
    (axes,) = class_differences({"both": found}, "sgd", ("a", "none", "c"), {"both": 1}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "c", "all images"]
    dots = [line for line in axes.get_lines() if line.get_color() == COLOURS[1]]
    assert [line.get_data()[0][0] for line in dots] == pytest.approx([20, 10, 5])
    assert [line.get_markerfacecolor() for line in dots] == [COLOURS[1], "none", COLOURS[1]]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([20, 60, 2])


def test_of_many_classes_those_that_differ_most():
    points_of = np.append(np.arange(50) / 100 - 0.25, 0)
    found = Difference(points_of, np.zeros(51), points_of[None], np.ones(51, bool))
    (axes,) = class_differences({"both": found}, "sgd", [f"c{number}" for number in range(50)], {"both": 1}).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 25
    assert labels[:3] == ["c0", "c1", "c49"]


def test_likeness_is_written_where_there_is_room():
    values = np.array([[1.0, 0.25, 0.5], [0.0, 0.75, 1.0]])
    pair = Alike("a and b", "a", "b", values, ["conv1", "fc"], ["conv1", "conv2", "fc"])
    (axes,) = likeness_maps([pair]).axes
    assert [text.get_text() for text in axes.texts] == ["1.00", ".25", ".50", ".00", ".75", "1.00"]
    colours = axes.collections[0].get_facecolor()
    assert colours[3][:3].sum() < 0.1 < 2 < colours[0][:3].sum()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv1", "fc"]
    assert len([axes for axes in likeness_maps([pair] * 3).axes if axes.get_visible()]) == 3
    assert svg(
        likeness_by_depth({"b": (np.array([1, 0.5]), 1), "random": (np.array([0.5, 0]), None)}, ["a", "b"]),
        name="x",
        label="",
    )


def shuffled() -> tuple[Network, Network]:
    """Two networks; the second's first layer is the first's backwards, its first filter dead, its last another."""
    first, _ = small()
    second, _ = small()
    with torch.no_grad():
        weight = first.model[0].weight.flip(0).clone()
        weight[0] = 0
        second.model[0].weight.copy_(weight)
    return first, second


def test_filters_of_partners_stand_side_by_side_and_those_alone_come_last():
    first, second = shuffled()
    table = np.zeros((8, 8))
    for index in range(7):
        table[index, 7 - index] = 1 - index / 100
    match = match_channels(table)
    picture = filter_pairs(first, second, match, ("left one", "right one"))
    scale = 60 // 3
    width = 3 * scale
    assert picture.values.shape == (9, 3, width, 2 * (width + AROUND) + BETWEEN)
    lefts = picture.values[:, :, :, AROUND : AROUND + width]
    rights = picture.values[:, :, :, AROUND + width + BETWEEN : -AROUND]
    np.testing.assert_allclose(lefts[:7], rights[:7])
    assert picture.captions[:2] == ("0 · 7\n1.00", "1 · 6\n0.99")
    assert picture.captions[7:] == ("7\ndead", "0\ndead")
    paper = np.array(PAPER, dtype=np.float32) / 255
    np.testing.assert_allclose(rights[7].reshape(3, -1).T, np.tile(paper, (width * width, 1)))
    np.testing.assert_allclose(lefts[8].reshape(3, -1).T, np.tile(paper, (width * width, 1)))
    weight = first.model[0].weight[0].detach().numpy()
    np.testing.assert_allclose(lefts[0][:, ::scale, ::scale], (weight / np.abs(weight).max() + 1) / 2, atol=1e-5)


def test_filters_that_are_no_images_are_left_out():
    model = nn.Sequential(nn.Conv2d(5, 8, 3))
    network = Network(model, (0.5,) * 5, (0.5,) * 5, (8, 8), (), "five")
    assert filter_pairs(network, network, match_channels(np.eye(8)), ("a", "b")) is None


def test_patterns_of_partners_and_of_some_alone(monkeypatch):
    monkeypatch.setattr(comparison_pictures, "ASCENT_STEPS", 1)
    monkeypatch.setattr(comparison_pictures, "PAIRS", 2)
    first, second = small()[0], small()[0]
    _, dataset = small()
    table = np.diag([0.9, 0.8, 0.7, 0.1, 0.1, 0.0])
    picture = pattern_pairs(first, second, ("4", "4"), match_channels(table), ("a", "b"), dataset)
    assert [caption.split("\n") for caption in picture.captions] == [
        ["0 · 0", "0.90"],
        ["2 · 2", "0.70"],
        ["3", "alone"],
        ["4", "alone"],
        ["3", "alone"],
        ["4", "alone"],
    ]
    side = 5 * 12
    assert picture.values.shape[2:] == (side, 2 * (side + AROUND) + BETWEEN)
    lefts, rights = (
        picture.values[..., AROUND : AROUND + side],
        picture.values[..., AROUND + side + BETWEEN : -AROUND],
    )
    np.testing.assert_allclose(lefts[:2], rights[:2], err_msg="the same network draws the same")
    assert "2 of 3 pairs, from the most to the least alike" in picture.caption
    assert pattern_pairs(first, second, ("4", "4"), match_channels(np.zeros((6, 6))), ("a", "b"), dataset) is None
