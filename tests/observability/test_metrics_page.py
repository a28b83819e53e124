"""docs/metrics.md says what the code measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.metrics import __main__ as generator
from tools.metrics import catalog

FIXED = {
    "zigflow_agent_activity_started_total",
    "zigflow_agent_activity_completed_total",
    "zigflow_agent_activity_failed_total",
    "zigflow_agent_activity_timeout_total",
    "zigflow_agent_activity_pending",
    "zigflow_agent_activity_duration_seconds",
    "stigma_workflow_running",
    "stigma_async_activity_approaching_timeout",
    "external_activity_completions_total",
    "external_activity_completion_duration_seconds",
    "pending_external_activities",
    "external_activity_errors_total",
}
"""Names that dashboards of users rely on."""


def test_the_page_is_fresh() -> None:
    assert generator.PAGE.read_text(encoding="utf-8") == generator.page(), (
        "run python -m tools.metrics"
    )


def test_every_fixed_name_is_there_with_its_labels() -> None:
    own = [metric for metrics in catalog.by_service().values() for metric in metrics]
    assert {metric.name for metric in own} >= FIXED
    labels = {metric.name: metric.labels for metric in own}
    assert labels["pending_external_activities"] == ("age_bucket",)
    assert labels["external_activity_completions_total"] == ("status", "service")
    assert labels["external_activity_errors_total"] == ("error_type",)
    assert labels["stigma_workflow_running"] == ("kind",)


def test_every_label_is_bounded_and_every_metric_says_what_it_is() -> None:
    for metrics in [*catalog.by_service().values(), catalog.every_service()]:
        for metric in metrics:
            assert metric.text
            for label in metric.labels:
                assert metric.values.get(label) or label in generator.BOUNDED, metric


def test_a_page_that_is_not_fresh_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "PAGE", tmp_path / "metrics.md")
    monkeypatch.setattr("sys.argv", ["metrics", "--check"])
    assert generator.main() == 1
    assert "run python -m tools.metrics" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["metrics"])
    assert generator.main() == 0
    monkeypatch.setattr("sys.argv", ["metrics", "--check"])
    assert generator.main() == 0
