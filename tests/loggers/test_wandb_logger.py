"""A real wandb, offline, writes what is read back from its files; it never asks for a login."""

import json

import pytest

from tests.loggers.readers import wandb_records, wandb_values

pytest.importorskip("wandb", reason="pip install 'convscope[wandb]'")


def records(run, kind):
    return [getattr(record, kind) for record in wandb_records(run.path) if record.WhichOneof("record_type") == kind]


def test_who_is_not_logged_in_writes_offline_and_is_told_how_to_send_it(run, tools):
    run.first_session("wandb")
    (folder,) = run.path.glob("wandb/offline-run-*")
    assert run.said == [f"wandb: not logged in; send it with: wandb sync {folder}"]


def test_settings_final_figures_and_alarms(run, tools):
    run.first_session("wandb")
    run.second_session("wandb")
    first = records(run, "run")[0]
    assert (first.project, first.display_name) == ("convscope", "planted-tiny")
    config = {item.key: json.loads(item.value_json) for item in first.config.update}
    assert config["recipe"]["phases"][0]["optimizer"] == "adam"
    summary = {}
    for record in records(run, "summary"):
        summary |= wandb_values(record.update)
    assert summary["final/test_accuracy"] == 0.25
    (alarm,) = records(run, "alert")
    assert (alarm.title, alarm.text) == (
        "silent channels after step 40",
        "3 of the 4 channels of relu are silent",
    )


def test_a_resumption_has_the_same_identity(run, tools):
    run.first_session("wandb")
    run.second_session("wandb")
    assert len(list(run.path.glob("wandb/offline-run-*"))) == 2
    assert len({record.run_id for record in records(run, "run")}) == 1


def test_online_without_a_login_is_said_and_nothing_is_asked(run, tools, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked at a prompt"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert run.first_session("wandb")[-1].step == 80
    assert run.said == [
        "wandb failed and is left out from here on: WANDB_MODE is online, but nobody is logged in: "
        "wandb login, or WANDB_MODE=offline"
    ]


def test_disabled_does_nothing(run, tools, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert run.first_session("wandb")[-1].step == 80
    assert not list(run.path.glob("wandb/*run-*"))
