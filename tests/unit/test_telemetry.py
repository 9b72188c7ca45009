"""What a function may write: lines from its own level up, and metrics unless they are off."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

from lambdas.common import telemetry
from lambdas.common.telemetry import MetricUnit


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("level", "said"),
    [("DEBUG", ["debug", "info", "warning"]), ("INFO", ["info", "warning"]), ("WARNING", ["warning"])],
)
@pytest.mark.parametrize("lambda_level", ["TRACE", ""])
def test_log_level_decides_whatever_lambda_filters_by(
    level: str, said: list[str], lambda_level: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", level)
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", lambda_level)
    with warnings.catch_warnings(action="error"):
        log = telemetry.logger(f"service-{level}-{lambda_level}")
    for word in ("debug", "info", "warning"):
        getattr(log, word)(word)
    assert [line["message"] for line in written(capsys)] == said


def test_a_line_is_no_longer_than_it_has_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.logger("short").info("said", task_id="task-1")
    [line] = written(capsys)
    assert set(line) == {"level", "message", "timestamp", "service", "task_id"}


def test_a_metric_has_the_stage_for_its_only_dimension(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = telemetry.metrics("dev")
    metrics.add_metric("TasksCompleted", MetricUnit.Count, 1)
    metrics.flush_metrics()
    [line] = written(capsys)
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["stage"]]
    assert (line["stage"], line["TasksCompleted"]) == ("dev", [1.0])


def test_metrics_that_are_off_are_not_written_however_many_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = telemetry.metrics("dev", "off")
    for _ in range(250):
        metrics.add_metric("TaskAge", MetricUnit.Milliseconds, 1)
    metrics.flush_metrics()
    assert written(capsys) == []
