"""Contenders are grouped by their settings; differences, chance and the answer equal what is worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convscope.report.contenders import find_contenders, same_start, setting_rows, share_test_images
from convscope.report.standings import Reach, difference_of, final_of, reaches, standing_of
from convscope.report.verdict import answer
from convscope.types import Phase
from tests.report.test_comparison_page import ADAM, SGD, log, planted

FAST = Phase("sgd", 0.5, epochs=2)


def run(name="sgd", *phases, seed=0, accuracies=(0.3, 0.5), **more):
    return planted(name, *(phases or (SGD,)), network=None, seed=seed, events=log(list(accuracies)), **more)


def told(*runs, chances=None):
    found = find_contenders(runs)
    return answer(found, [standing_of(contender) for contender in found], chances or {})


def test_runs_that_differ_in_nothing_but_the_seed_are_one_contender():
    runs = [run(seed=1), run("adam", ADAM), run(seed=0), run("sgd", ADAM, SGD, folder="switch")]
    found = find_contenders(runs)
    assert [[member.seed for member in contender.members] for contender in found] == [[0, 1], [0], [0]]
    assert [contender.name for contender in found] == ["sgd-1", "adam", "switch"]


def test_a_contender_is_called_by_what_tells_it_apart():
    assert [each.name for each in find_contenders([run(), run("adam", ADAM)])] == ["sgd", "adam"]
    same = [run(batch_size=8, folder="a"), run(batch_size=16, folder="b")]
    assert [each.name for each in find_contenders(same)] == ["a", "b"]
    same = [run(batch_size=8, folder="x/a"), run(batch_size=16, folder="y/a")]
    assert [each.name for each in find_contenders(same)] == ["runs/x/a", "runs/y/a"]


def test_settings_that_differ_and_those_that_do_not():
    differing, shared = setting_rows(find_contenders([run(), run(seed=1), run("both", ADAM, SGD, batch_size=64)]))
    assert list(differing) == ["Phase 1", "Phase 2", "Batch size", "Seeds"]
    assert differing["Phase 2"] == ["", "optimizer sgd, learning rate 0.1, epochs 2, schedule constant, momentum 0.9"]
    assert differing["Seeds"] == ["0, 1", "0"]
    assert shared["Model"] == "small"


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({}, (True, True)),
        ({"initial": "b" * 64}, (False, True)),
        ({"initial": None}, (None, True)),
        ({"batch_size": 16}, (True, False)),
        ({"fingerprint": "beef"}, (True, False)),
        ({"seed": 1}, (False, False)),
    ],
)
def test_the_same_start_is_the_same_weights_and_the_same_order(second, expected):
    found = find_contenders([run(), run("adam", ADAM, **second)])
    assert same_start(found) == expected
    assert share_test_images(found) == ("fingerprint" not in second)


def test_a_run_stands_where_it_ended_or_where_it_is():
    ended, going = final_of(log([0.3, 0.5], final=0.6)), final_of(log([0.3, 0.5], finished=False))
    assert (ended.finished, ended.step, ended.seconds, ended.figures["test_accuracy"]) == (True, 40, 41.0, 0.6)
    assert (going.finished, going.step, going.figures["test_accuracy"]) == (False, 20, 0.5)
    assert final_of([]) == (False, 0, 0.0, {})


def test_mean_and_deviation_are_over_seeds():
    (found,) = find_contenders([run(seed=seed, accuracies=(0.1, last)) for seed, last in enumerate((0.4, 0.5, 0.9))])
    standing = standing_of(found)
    assert standing.means["test_accuracy"] == pytest.approx(0.6)
    assert standing.deviations["test_accuracy"] == pytest.approx(np.std([0.4, 0.5, 0.9], ddof=1))
    (single,) = find_contenders([run()])
    assert standing_of(single).deviations == {}


def test_chance_is_what_swapping_answers_image_by_image_makes():
    drawn = np.random.default_rng(0)
    right, other = (drawn.integers(0, 2, (2, 9)).astype(float) for _ in range(2))
    labels = np.array([0, 0, 0, 0, 0, 2, 2, 2, 2])
    found = difference_of(dict(enumerate(right)), dict(enumerate(other)), labels, 3)
    delta = right.mean(0) - other.mean(0)
    for place, members in ((0, labels == 0), (2, labels == 2), (3, labels >= 0)):
        sums = [np.dot(signs, delta[members]) for signs in itertools.product((-1, 1), repeat=int(members.sum()))]
        assert found.points[place] == pytest.approx(delta[members].mean())
        assert found.chance[place] == pytest.approx(1.959964 * np.std(sums) / members.sum())
        for seed in (0, 1):
            expected = (right[seed] - other[seed])[members].mean()
            assert found.seeds[seed, place] == pytest.approx(expected)
    assert np.isnan(found.points[1])


def test_differences_seed_by_seed_are_of_the_seeds_that_both_have():
    labels, answers = np.zeros(4, dtype=np.int64), {1: np.array([1.0, 0, 0, 0]), 2: np.array([1.0, 1, 1, 0])}
    found = difference_of(answers, {0: np.ones(4), **answers}, labels, 1)
    assert found.seeds.tolist() == [[0, 0], [0, 0]]
    assert difference_of({0: np.ones(4)}, {1: np.zeros(4)}, labels, 1).seeds.shape == (0, 2)


def test_clear_is_beyond_chance_with_each_seed_of_the_one_above_each_of_the_other():
    labels = np.repeat([0, 1, 2], 40)
    rights, others = ((30, 20), (38, 10), (2, 1)), ((12, 10), (12, 1), (0, 0))  # of each class, by seed

    def answers(counts):
        return {seed: np.concatenate([np.arange(40) < each[seed] for each in counts]) * 1.0 for seed in (0, 1)}

    found = difference_of(answers(rights), answers(others), labels, 3)
    assert found.apart.tolist() == [True, False, True, True]
    assert found.clear.tolist() == [True, False, False, True]
    assert difference_of(answers(others), answers(rights), labels, 3).clear.tolist() == [True, False, False, True]


def test_an_accuracy_is_reached_at_the_first_evaluation_that_has_it():
    quick, slow = [run("q", ADAM, accuracies=each) for each in ((0.35, 0.62, 0.41), (0.1, 0.2, 0.45))]
    found = find_contenders([quick, with_seed_1(slow), run(accuracies=(0.1, 0.2, 0.55))])
    levels = reaches(found)
    assert set(levels) == {0.2, 0.3, 0.4, 0.5, 0.55, 0.6}
    assert levels[0.4] == [Reach(2, 25.0, 2.5, 25.0), Reach(1, 30.0, 3.0, 30.0)]
    assert levels[0.6] == [Reach(1, None, None, None), Reach(0, None, None, None)]
    assert reaches(find_contenders([planted("sgd", SGD, network=None, events=[])])) == {}


def with_seed_1(found):
    found.config["recipe"]["seed"] = 1
    return found


def test_a_single_seed_each_is_judged_by_the_test_images_alone():
    first, *more = told(run(accuracies=(0.5,)), run("adam", ADAM, accuracies=(0.7,)))
    assert first == "adam ends best, with 70.0 % of 300 test images."
    assert more[0] == "It is 20.0 points above sgd; on 300 test images chance alone makes ±7.7."
    assert more[1] == "How much another seed would change is not known of adam and sgd: --seeds 3 tells."
    first, *more = told(run(accuracies=(0.5,)), run("adam", ADAM, accuracies=(0.51,)))
    assert first.startswith("No clear winner: adam ends highest, with 51.0 % of 300 test images")
    assert more[0].startswith("It is only 1.0 points above sgd")
    planted_chance = {("sgd", "adam"): 0.005}
    assert told(run(accuracies=(0.5,)), run("adam", ADAM, accuracies=(0.51,)), chances=planted_chance)[0] == (
        "adam ends best, with 51.0 % of 300 test images."
    )


def seeded(name, phase, *accuracies):
    return [run(name, phase, seed=seed, accuracies=(each,)) for seed, each in enumerate(accuracies)]


def test_with_seeds_every_seed_of_the_best_must_beat_every_seed_of_the_other():
    first, words = told(*seeded("sgd", SGD, 0.5, 0.6, 0.55), *seeded("adam", ADAM, 0.7, 0.72, 0.74))
    assert first == "adam ends best, with 72.0 % of 300 test images on average over 3 seeds."
    assert "17.0 points above sgd, more than between seeds: each of its seeds beats each of sgd's" in words
    assert "once in 10 times" in words  # 6! / 3! / 3! orders, of which 2 part the seeds
    first, words = told(*seeded("sgd", SGD, 0.5, 0.71), *seeded("adam", ADAM, 0.7, 0.74))
    assert first.startswith("No clear winner: adam ends highest")
    assert words == (
        "It is 11.5 points above sgd on average, and with each seed, but their seeds overlap (70.0 % to 74.0 % and "
        "50.0 % to 71.0 %): no more than seeds make."
    )
    _, words = told(*seeded("sgd", SGD, 0.71, 0.5), *seeded("adam", ADAM, 0.7, 0.74))
    assert "11.5 points above sgd on average, but their seeds overlap" in words
    first, words = told(*seeded("sgd", SGD, 0.70, 0.71), *seeded("adam", ADAM, 0.72, 0.73))
    assert first.startswith("No clear winner")
    assert "beats each of sgd's (by luck this happens once in 3 times), but on 300 test images chance" in words


def test_some_even_and_some_behind():
    first, *words = told(
        *seeded("sgd", SGD, 0.2, 0.3), *seeded("adam", ADAM, 0.7, 0.8), *seeded("both", FAST, 0.71, 0.82)
    )
    assert first == (
        "both and adam end best, without a clear difference: the highest is both, with 76.5 % of 300 test images on "
        "average over 2 seeds."
    )
    assert "seeds overlap" in words[0]
    assert "51.5 points above sgd, more than between seeds" in words[1]
