"""Kinds that a cluster lacks are named in one sentence, before anything is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.charts import matrix
from tests.charts.helm import CHARTS, UMBRELLA, Helm

# Of a cluster: without one, kinds are not listed.
ANY_CLUSTER = "apps/v1/Deployment"
NEEDS: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "ai-worker",
        {"autoscaling": {"enabled": True}},
        "keda.sh/v1alpha1/ScaledObject",
        "autoscaling.enabled needs KEDA, which this cluster does not have",
    ),
    (
        "stigma-orchestrator",
        {"versioning": {"mode": "controller"}},
        "temporal.io/v1alpha1/WorkerDeployment",
        "versioning.mode=controller needs the Temporal Worker Controller",
    ),
    (
        "zigflow-worker",
        {"monitoring": {"scrape": {"enabled": True}}},
        "monitoring.coreos.com/v1/PodMonitor",
        "monitoring.scrape.enabled needs the Prometheus operator",
    ),
    (
        "stigma-api",
        {"monitoring": {"scrape": {"enabled": True}}},
        "monitoring.coreos.com/v1/ServiceMonitor",
        "monitoring.scrape.enabled needs the Prometheus operator",
    ),
    (
        "stigma-api",
        {"monitoring": {"rules": {"enabled": True}}},
        "monitoring.coreos.com/v1/PrometheusRule",
        "monitoring.rules.enabled needs the Prometheus operator",
    ),
    (
        "stigma-api",
        {
            "console": {
                "enabled": True,
                "gateway": {"enabled": True, "host": "a.example", "parentRefs": [{"name": "g"}]},
            }
        },
        "gateway.networking.k8s.io/v1/HTTPRoute",
        "console.gateway.enabled needs the Gateway API",
    ),
    (
        UMBRELLA,
        {"global": {"stigma": {"monitoring": {"rules": {"enabled": True}}}}},
        "monitoring.coreos.com/v1/PrometheusRule",
        "monitoring.rules.enabled needs the Prometheus operator",
    ),
]


def rendered(helm: Helm, chart: str, values: dict[str, Any], directory: Path, *apis: str) -> Any:
    file = directory / "values.json"
    file.write_text(json.dumps(matrix.merged(matrix.least(chart), values)))
    flags = [flag for api in apis for flag in ("--api-versions", api)]
    return helm.run("template", "x", CHARTS / chart, "--values", file, *flags)


@pytest.mark.parametrize("need", NEEDS, ids=[f"{c}-{k}" for c, _, k, _ in NEEDS])
def test_a_kind_that_is_missing_is_named_with_what_brings_it(helm: Helm, tmp_path: Path, need):
    chart, values, kind, message = need
    refused = rendered(helm, chart, values, tmp_path, ANY_CLUSTER)
    assert refused.returncode != 0
    assert message in refused.stderr
    assert f"({kind}): install it (https://" in refused.stderr
    there = rendered(helm, chart, values, tmp_path, ANY_CLUSTER, kind)
    assert there.returncode == 0, there.stderr
    assert f"kind: {kind.rpartition('/')[2]}\n" in there.stdout


def test_without_any_of_it_nothing_is_needed(helm: Helm, tmp_path: Path):
    done = rendered(helm, UMBRELLA, {}, tmp_path, ANY_CLUSTER)
    assert done.returncode == 0, done.stderr
