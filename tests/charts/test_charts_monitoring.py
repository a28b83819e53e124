"""Alerts and dashboards ask only for metrics that exist, and find the objects they are about."""

from __future__ import annotations

import json
import re

import pytest
from ruamel.yaml import YAML

from tests.charts import matrix
from tests.charts.helm import CHARTS, SERVICES, WORKERS, Helm, Values, named
from tools.metrics import catalog

SDK = re.compile(r"temporal_[a-z_]+")
WORDS = {"sum", "max", "rate", "increase", "by", "without", "and", "or", "on", "absent", "topk"}
WORDS |= {"histogram_quantile", "clamp_min", "ignoring", "group_left", "count"}
WORDS |= {"__rate_interval", "abs"}


def asked_for(expression: str) -> set[str]:
    """Return the names of the series that an expression asks for."""
    bare = re.sub(r"\{[^}]*\}|\b(by|without|on|ignoring) ?\([^)]*\)|\[[^\]]*\]", "", expression)
    return set(re.findall(r"[a-zA-Z_]{2,}", bare)) - WORDS


def exported() -> set[str]:
    """Return the names of every series: the services' own, and Prometheus'."""
    return catalog.series() | {"up", "ALERTS"}


@pytest.mark.parametrize("chart", SERVICES)
def test_alerts_ask_for_metrics_that_exist(chart):
    rules = YAML(typ="safe", pure=True).load((CHARTS / chart / "files/rules.yaml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert alerts
    for alert in alerts:
        assert asked_for(alert["expr"]) <= exported(), alert["alert"]
        assert f'job="{chart}"' in alert["expr"]


def test_dashboards_ask_for_metrics_that_exist():
    files = list(CHARTS.glob("*/files/dashboards/*.json"))
    assert files
    for file in files:
        panels = json.loads(file.read_text())["panels"]
        targets = [target["expr"] for panel in panels for target in panel.get("targets", [])]
        assert targets
        for expression in targets:
            names = {name for name in asked_for(expression) if not SDK.fullmatch(name)}
            assert names <= exported(), expression


@pytest.mark.parametrize("chart", WORKERS)
def test_pods_are_scraped_as_the_job_of_their_chart(helm4: Helm, chart):
    documents = helm4.documents(chart, matrix.production_of(chart))
    monitor = named(documents, "PodMonitor")["spec"]
    pod = named(documents, "Deployment")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert labels[monitor["jobLabel"]] == chart
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= ports


def test_the_api_is_scraped_once_as_the_job_of_its_chart(helm4: Helm):
    documents = helm4.documents("stigma-api", matrix.production_of("stigma-api"))
    monitor = named(documents, "ServiceMonitor")["spec"]
    [service] = [
        each
        for each in documents
        if each["kind"] == "Service"
        and monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "stigma-api"
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= ports


@pytest.mark.parametrize("chart", SERVICES)
def test_runbooks_are_where_the_operator_has_them(helm4: Helm, chart):
    monitoring = {"monitoring": {"rules": {"enabled": True}}}
    shipped = _runbooks(helm4, chart, matrix.merged(matrix.least(chart), monitoring))
    moved = _runbooks(helm4, chart, matrix.everything(chart))
    here = "https://github.com/stigma-dev/stigma/blob/main/docs/runbooks/"
    assert shipped
    assert all(runbook.startswith(here) for runbook in shipped)
    there = "https://runbooks.example.com/stigma/"
    assert moved == [runbook.replace(here, there) for runbook in shipped]


def _runbooks(helm: Helm, chart: str, values: Values) -> list[str]:
    rules = named(helm.documents(chart, values), "PrometheusRule")["spec"]["groups"][0]["rules"]
    return [rule["annotations"]["runbook_url"] for rule in rules]
