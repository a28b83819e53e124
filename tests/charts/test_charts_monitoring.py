"""Alerts and dashboards ask only for metrics that exist, and find the objects they are about."""

from __future__ import annotations

import json
import re

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML

from ai_worker.metrics import ModelCallMetrics
from stigma.runtime import RpcMetrics
from stigma_orchestrator.metrics import CallbackMetrics
from tests.charts import matrix
from tests.charts.helm import CHARTS, SERVICES, WORKERS, Helm, named

WORDS = {"sum", "rate", "increase", "by", "histogram_quantile", "job", "le"}
LABELS = {"error_type", "provider", "model", "outcome", "status", "method", "code"}


def exported() -> set[str]:
    """Return the names of every series of the services' own metrics."""
    names = {"up"}  # Prometheus's own
    for make in (CallbackMetrics, ModelCallMetrics, RpcMetrics):
        registry = CollectorRegistry()
        make(registry)
        for family in registry.collect():
            names.add(family.name)
            kinds = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
            names |= {f"{family.name}{suffix}" for suffix in kinds.get(family.type, [])}
    return names


def asked_for(expression: str) -> set[str]:
    """Return the names of the series that an expression asks for."""
    bare = re.sub(r'"[^"]*"|\[[0-9a-z]+\]', "", expression)
    return set(re.findall(r"[a-z_]{2,}", bare)) - WORDS - LABELS


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
            assert asked_for(expression) <= exported(), expression


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
