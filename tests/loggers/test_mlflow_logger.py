"""A real MLflow with a local database gives back what it was told."""

import json

import pytest

mlflow = pytest.importorskip("mlflow", reason="pip install 'convscope[mlflow]'")

pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # MLflow's, of SQLAlchemy


def remembered(run):
    return json.loads((run.path / "loggers" / "mlflow.json").read_bytes())


def found(run):
    return mlflow.MlflowClient(remembered(run)["address"]).get_run(remembered(run)["id"])


def test_settings_final_figures_alarms_and_status(run, tools):
    run.first_session("mlflow")
    assert found(run).info.status == "FAILED"  # its events ended without an "end"
    run.second_session("mlflow")
    read = found(run)
    assert read.info.run_name == "planted-tiny"
    assert read.data.params["recipe.phases.0.optimizer"] == "adam"
    assert read.data.metrics["final/test_accuracy"] == 0.25
    assert read.data.tags["alarm after step 40"] == "3 of the 4 channels of relu are silent"
    assert read.info.status == "FINISHED"


def test_the_resumption_goes_on_at_the_first_address_from_anywhere(run, tools, monkeypatch):
    run.first_session("mlflow")
    before = remembered(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run.second_session("mlflow")
    assert [remembered(run)[key] for key in ("id", "address")] == [before["id"], before["address"]]
    assert found(run).info.status == "FINISHED"


def test_a_run_that_was_deleted_there_begins_anew_and_whole(run, tools):
    run.first_session("mlflow")
    old = remembered(run)["id"]
    mlflow.MlflowClient().delete_run(old)
    run.second_session("mlflow")
    assert remembered(run)["id"] != old
    history = mlflow.MlflowClient().get_metric_history(remembered(run)["id"], "loss/batches")
    assert [one.step for one in history] == list(range(10, 101, 10))


def test_where_to_look_is_said(run, tools, mlflow_address):
    run.first_session("mlflow")
    assert run.said == [f"mlflow: mlflow ui --backend-store-uri {mlflow_address} (experiment convscope)"]
