"""What stands below a comparison's curves is what their logs say."""

from __future__ import annotations

from convscope.report.comparison_words import costs_said, curves_said, seeds_said
from convscope.report.contenders import find_contenders
from convscope.report.standings import reaches, standing_of
from tests.report.test_comparison_page import ADAM, SGD, log, planted


def contenders():
    return find_contenders(
        [
            planted("sgd", SGD, network=None, seed=0, events=log([0.2, 0.4, 0.5, 0.5])),
            planted("sgd", SGD, network=None, seed=1, events=log([0.2, 0.6, 0.5, 0.4])),
            planted("adam", ADAM, network=None, events=log([0.3, 0.7, 0.8, 0.6])),
        ]
    )


def test_curves_tell_the_best_and_the_last_on_average_over_seeds():
    said = curves_said(contenders())
    assert "sgd was best with 55.0 % after epoch 2.5 and ended with 45.0 %; its test loss was lowest, 0.25," in said
    assert "adam was best with 80.0 % after epoch 3 and ended with 60.0 %" in said
    assert "rises" not in said  # the planted losses fall to the end


def test_a_test_loss_that_rises_is_named():
    events = [
        event
        if event.kind != "eval"
        else event.__class__("eval", event.step, event.time, {**event.data, "test_loss": event.data["epoch"]})
        for event in log([0.2, 0.4])
    ]
    said = curves_said(find_contenders([planted("sgd", SGD, network=None, events=events)]))
    assert said.endswith("A test loss that rises, as that of sgd, tells of growing sure of mistakes.")


def test_costs_name_who_was_first_and_who_got_furthest():
    found = contenders()
    said = costs_said(reaches(found), [each.name for each in found])
    assert said.startswith("50.0 % is the highest of these that all reached: adam after epoch 2 (20.0 s), sgd")
    assert said.endswith("Only adam reached 80.0 %.")
    assert costs_said(reaches(found[:1]), ["sgd"]) == ""


def test_seeds_tell_how_far_they_lie_apart():
    standings = [standing_of(each) for each in contenders()]
    assert seeds_said(standings) == (
        "From the best to the worst of a contender's seeds it is so many points: those of sgd 10.0."
    )
    assert seeds_said(standings[1:]) == ""
