"""Every alert fires when it should and keeps quiet when it should not, by `promtool test rules`.

A case has a sample a minute. In Prometheus' notation `0+1x10` goes up by 1 ten times, `_x10` is
nothing for ten minutes.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.observability.prometheus import promtool
from tests.observability.rules import SERVICES, alerts_of, hurried, path_of

RUNBOOKS = "https://github.com/stigma-dev/stigma/blob/main/docs/runbooks/"


@dataclass(frozen=True)
class Case:
    """What is measured for 20 minutes, and whether the alert fires at the end of them."""

    chart: str
    alert: str
    series: dict[str, str]
    says: str = ""
    """The summary; empty: it does not fire."""
    labels: dict[str, str] = field(default_factory=dict)
    at: str = "20m"


def job(chart: str, **labels: str) -> str:
    """The labels of a series."""
    given = {"job": chart, "instance": "10.0.0.1:7310", "pod": "one"} | labels
    return "{" + ",".join(f'{name}="{value}"' for name, value in given.items()) + "}"


API, ORCHESTRATOR, AI, ENGINE = SERVICES
UP = [
    case
    for chart in SERVICES
    for case in (
        Case(
            chart,
            "StigmaServiceDown",
            {f"up{job(chart)}": "0x20", f"up{job(chart, pod='two', instance='b')}": "1x20"},
            f"{chart} has not answered for 5 minutes, in pod one.",
            {"pod": "one", "instance": "10.0.0.1:7310", "job": chart},
        ),
        Case(
            chart,
            "StigmaServiceDown",
            {"up": "1x20"},
            f"{chart} has not answered for 5 minutes.",
            {"job": chart},
        ),
        Case(chart, "StigmaServiceDown", {f"up{job(chart)}": "1x14 0x3 1x3"}),
        Case(
            chart,
            "StigmaServiceNotReady",
            {f"stigma_ready{job(chart)}": "0x20"},
            f"{chart} in pod one has not been ready for 5 minutes.",
            {"pod": "one", "instance": "10.0.0.1:7310", "job": chart},
        ),
        Case(chart, "StigmaServiceNotReady", {f"stigma_ready{job(chart)}": "1x16 0x4"}),
    )
]


def replicas(name: str, values: str, **labels: str) -> dict[str, str]:
    """A gauge of the whole installation, as two replicas of the API show it."""
    return {
        f"{name}{job(API, **labels)}": values,
        f"{name}{job(API, pod='two', instance='10.0.0.2:7310', **labels)}": values,
    }


def model_calls(failed: str, good: str) -> dict[str, str]:
    model = {"provider": "p", "model": "m"}
    return {
        f"stigma_model_calls_total{job(AI, outcome='RATE_LIMITED', **model)}": failed,
        f"stigma_model_calls_total{job(AI, outcome='SUCCESS', **model)}": good,
        f"stigma_model_calls_total{job(AI, outcome='CANCELLED', **model)}": "0+90x20",
    }


def executions(failed: str, timed_out: str, good: str) -> dict[str, str]:
    def series(kind: str, phase: str) -> str:
        return f"stigma_executions_ended_total{job(ORCHESTRATOR, kind=kind, phase=phase)}"

    return {
        series("agent", "FAILED"): failed,
        series("agent", "TIMED_OUT"): timed_out,
        series("agent", "COMPLETED"): good,
        series("agent", "CANCELLED"): "0+90x20",
        series("workflow", "FAILED"): "0x20",
        series("workflow", "COMPLETED"): "0+90x20",
    }


def agent_calls(failed: str, timeout: str, good: str) -> dict[str, str]:
    def series(outcome: str) -> str:
        return f"zigflow_agent_activity_{outcome}_total{job(ENGINE)}"

    return {series("failed"): failed, series("timeout"): timeout, series("completed"): good}


def deliveries(failed: str, good: str, gone: str = "0x20") -> dict[str, str]:
    def series(status: str) -> str:
        labels = job(ORCHESTRATOR, status=status, service="stigma_orchestrator")
        return f"external_activity_completions_total{labels}"

    return {series("error"): failed, series("success"): good, series("gone"): gone}


def delivery_seconds(fast: str, everything: str) -> dict[str, str]:
    name = "external_activity_completion_duration_seconds_bucket"
    return {
        f"{name}{job(ORCHESTRATOR, le='0.25')}": fast,
        f"{name}{job(ORCHESTRATOR, le='1')}": everything,
        f"{name}{job(ORCHESTRATOR, le='+Inf')}": everything,
    }


def refused(error_type: str, values: str) -> dict[str, str]:
    return {f"external_activity_errors_total{job(API, error_type=error_type)}": values}


STUCK = "stigma_async_activity_stuck"
APPROACHING = "stigma_async_activity_approaching_timeout"
BACKLOG = "stigma_task_queue_backlog"
WAITING = "stigma_executions_waiting_for_input"
RUNNING = "stigma_workflow_running"
REFRESHES = {f"stigma_cluster_metrics_refreshes_total{job(API, outcome='error')}": "0+1x20"}
QUEUE = {"task_queue": "stigma-ai"}
# In ten minutes. Where little happens, a few failures are a large share, and not yet an alert.
TWO, THREE, FOUR, SIX = (f"0+0.{number}x20" for number in (2, 3, 4, 6))

CASES = [
    *UP,
    Case(
        API,
        "StigmaCallsStuck",
        replicas(STUCK, "0x10 2x10"),
        "2 callers have waited for too long, a day unless set otherwise.",
        {"job": API},
    ),
    Case(API, "StigmaCallsStuck", replicas(STUCK, "0x10 2x8 0x2")),
    Case(API, "StigmaCallsStuck", replicas("pending_external_activities", "9x20")),
    Case(
        API,
        "StigmaCallsApproachTimeout",
        replicas(APPROACHING, "0x10 3x10"),
        "3 executions have used up four fifths of their time.",
        {"job": API},
    ),
    Case(API, "StigmaCallsApproachTimeout", replicas(APPROACHING, "3x18 0x2")),
    Case(
        API,
        "StigmaNobodyAnswers",
        replicas(WAITING, "2x20", age_bucket="lt_24h")
        | replicas(WAITING, "1x20", age_bucket="ge_24h")
        | replicas(WAITING, "9x20", age_bucket="lt_6h"),
        "3 executions have waited for people for more than 6 hours.",
        {"job": API},
    ),
    Case(API, "StigmaNobodyAnswers", replicas(WAITING, "9x20", age_bucket="lt_6h")),
    Case(API, "StigmaNobodyAnswers", replicas(WAITING, "9x18 0x2", age_bucket="ge_24h")),
    Case(
        API,
        "StigmaBacklogGrows",
        replicas(BACKLOG, "60x20", task_type="workflow", **QUEUE)
        | replicas(BACKLOG, "41x20", task_type="activity", **QUEUE),
        "101 tasks wait for a worker in queue stigma-ai.",
        {"job": API, **QUEUE},
    ),
    Case(
        API,
        "StigmaBacklogGrows",
        replicas(BACKLOG, "100x20", task_type="activity", **QUEUE)
        | replicas(BACKLOG, "100x20", task_type="activity", task_queue="stigma"),
    ),
    Case(API, "StigmaBacklogGrows", replicas(BACKLOG, "0x16 999x4", task_type="a", **QUEUE)),
    Case(
        API,
        "StigmaCallbackTokensRefused",
        refused("permission_denied", "0x15 1x5"),
        "Callback tokens are refused: permission_denied.",
        {"error_type": "permission_denied"},
    ),
    Case(API, "StigmaCallbackTokensRefused", refused("permission_denied", "0x5 1x15")),
    Case(API, "StigmaCallbackTokensRefused", refused("cancel_requested", "0+1x20")),
    Case(API, "StigmaCallbackTokensRefused", refused("not_found", "0+1x20")),
    Case(
        API,
        "StigmaClusterMetricsMissing",
        REFRESHES | replicas(RUNNING, "1x5 stale", kind="agent"),
        "No replica of the API can read the installation's state from Temporal.",
        {"job": API},
    ),
    Case(API, "StigmaClusterMetricsMissing", REFRESHES | replicas(RUNNING, "1x20", kind="agent")),
    Case(API, "StigmaClusterMetricsMissing", {f"up{job(API)}": "1x20"}),  # they are off
    Case(
        API,
        "StigmaClockSkew",
        {f"stigma_clock_skew_seconds{job(API, pod='api-1')}": "0x5 -3.5x15"},
        "The clock of stigma-api in pod api-1 is 3.5 s off Temporal's.",
        {"job": API, "pod": "api-1", "instance": "10.0.0.1:7310"},
    ),
    Case(API, "StigmaClockSkew", {f"stigma_clock_skew_seconds{job(API)}": "1.9x20"}),
    Case(
        ORCHESTRATOR,
        "StigmaExecutionsFail",
        executions("0+1x20", "0+1x20", "0+8x20"),
        "20% of agent executions fail or time out.",
        {"kind": "agent"},
    ),
    Case(ORCHESTRATOR, "StigmaExecutionsFail", executions("0+1x20", "0x20", "0+9x20")),
    Case(ORCHESTRATOR, "StigmaExecutionsFail", executions("0x17 9x3", "0x20", "0+1x20")),
    Case(ORCHESTRATOR, "StigmaExecutionsFail", executions("0x20", "0x20", "0x20")),
    Case(
        ORCHESTRATOR,
        "StigmaExecutionsFail",
        executions(THREE, THREE, "0x20"),
        "100% of agent executions fail or time out.",
        {"kind": "agent"},
    ),
    Case(ORCHESTRATOR, "StigmaExecutionsFail", executions(TWO, TWO, "0x20")),
    Case(ORCHESTRATOR, "StigmaExecutionsFail", executions("0x10 1x10", "0x20", "0x20")),
    Case(
        ORCHESTRATOR,
        "StigmaDeliveriesFail",
        deliveries("0+1x20", "0+1x20"),
        "50% of deliveries to waiting activities fail.",
    ),
    Case(ORCHESTRATOR, "StigmaDeliveriesFail", deliveries("0+1x20", "0+9x20")),
    Case(ORCHESTRATOR, "StigmaDeliveriesFail", deliveries("0+1x5 5x15", "0+1x20")),
    Case(
        ORCHESTRATOR,
        "StigmaDeliveriesFail",
        deliveries(SIX, "0x20"),
        "100% of deliveries to waiting activities fail.",
    ),
    Case(ORCHESTRATOR, "StigmaDeliveriesFail", deliveries(FOUR, "0x20")),
    Case(ORCHESTRATOR, "StigmaDeliveriesFail", deliveries("0x20", "0+1x20", gone="0+30x20")),
    Case(ORCHESTRATOR, "StigmaDeliveriesFail", deliveries("0x20", "0x20", gone="0+30x20")),
    Case(
        ORCHESTRATOR,
        "StigmaDeliveriesFail",
        deliveries("0+1x20", "0+4x20", gone="0+90x20"),
        "20% of deliveries to waiting activities fail.",
    ),
    Case(
        ORCHESTRATOR,
        "StigmaDeliveriesSlow",
        delivery_seconds("0+9x20", "0+10x20"),
        "The slowest 1 % of deliveries take 925ms or longer.",
    ),
    Case(ORCHESTRATOR, "StigmaDeliveriesSlow", delivery_seconds("0+1000x20", "0+1001x20")),
    Case(
        AI,
        "StigmaModelCallsFail",
        model_calls("0+10x20", "0+30x20"),
        "25% of calls to p:m fail.",
        {"provider": "p", "model": "m"},
    ),
    Case(AI, "StigmaModelCallsFail", model_calls("0+1x20", "0+90x20")),
    Case(
        AI,
        "StigmaModelCallsFail",
        model_calls(SIX, "0x20"),
        "100% of calls to p:m fail.",
        {"provider": "p", "model": "m"},
    ),
    Case(AI, "StigmaModelCallsFail", model_calls(FOUR, "0x20")),
    Case(
        ENGINE,
        "StigmaAgentCallsFail",
        agent_calls("0+1x20", "0+1x20", "0+8x20"),
        "20% of the documents' calls of agents fail or time out.",
    ),
    Case(ENGINE, "StigmaAgentCallsFail", agent_calls("0+1x20", "0x20", "0+9x20")),
    Case(ENGINE, "StigmaAgentCallsFail", agent_calls("0x20", "0x20", "0x20")),
    Case(
        ENGINE,
        "StigmaAgentCallsFail",
        agent_calls(THREE, THREE, "0x20"),
        "100% of the documents' calls of agents fail or time out.",
    ),
    Case(ENGINE, "StigmaAgentCallsFail", agent_calls(TWO, TWO, "0x20")),
    Case(ENGINE, "StigmaAgentCallsFail", agent_calls("0x10 1x10", "0x20", "0x20")),
]


@pytest.mark.parametrize("chart", SERVICES)
def test_alerts_fire_and_keep_quiet(chart: str, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.chart == chart]
    tested = tmp_path / "cases.yaml"
    with tested.open("w") as file:
        YAML(pure=True).dump(
            {
                "rule_files": [str(path_of(chart))],
                "evaluation_interval": "1m",
                "tests": [_test_of(case) for case in cases],
            },
            file,
        )
    done = subprocess.run(
        [promtool(), "test", "rules", str(tested)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("chart", SERVICES)
def test_every_alert_has_cases_of_both_kinds(chart: str) -> None:
    names = {rule["alert"] for rule in alerts_of(chart)}
    of_chart = [case for case in CASES if case.chart == chart]
    assert {case.alert for case in of_chart if case.says} == names
    assert {case.alert for case in of_chart if not case.says} == names


@pytest.mark.parametrize("chart", SERVICES)
def test_every_alert_says_how_bad_it_is_and_what_to_do(chart: str) -> None:
    for rule in alerts_of(chart):
        assert rule["labels"] == {"severity": rule["labels"]["severity"], "service": chart}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        # StigmaCallsStuck has calls-stuck.md, whatever its chart.
        words = re.findall("[A-Z][a-z]+", rule["alert"].removeprefix("Stigma"))
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}{'-'.join(words).lower()}.md"


def test_alerts_of_one_name_are_one_alert() -> None:
    """Only what they are about differs, so that a runbook is right for each."""
    seen: dict[str, str] = {}
    for chart in SERVICES:
        for rule in alerts_of(chart):
            expression = rule["expr"].replace(chart, "CHART")
            assert seen.setdefault(rule["alert"], expression) == expression


def test_in_a_hurry_only_durations_differ() -> None:
    def timeless(rule: dict[str, Any]) -> str:
        return re.sub(r"\[\d+[smhd]\]", "[]", rule["expr"])

    for chart in SERVICES:
        rules = hurried(chart, factor=60, least=timedelta(seconds=5))["groups"][0]["rules"]
        shipped = alerts_of(chart)
        assert [timeless(rule) for rule in rules] == [timeless(rule) for rule in shipped]
        for rule, original in zip(rules, shipped, strict=True):
            assert rule["annotations"] == original["annotations"]
            minutes = original.get("for", "0m").removesuffix("m")
            assert rule.get("for", "0s") == f"{minutes}s"
            ranges = re.findall(r"\[(\d+)m\]", original["expr"])
            assert re.findall(r"\[(\d+)s\]", rule["expr"]) == ranges


def _test_of(case: Case) -> dict[str, Any]:
    [rule] = [rule for rule in alerts_of(case.chart) if rule["alert"] == case.alert]
    expected = []
    if case.says:
        annotations = rule["annotations"] | {"summary": case.says}
        expected = [{"exp_labels": rule["labels"] | case.labels, "exp_annotations": annotations}]
    return {
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values} for series, values in case.series.items()
        ],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}
        ],
    }
