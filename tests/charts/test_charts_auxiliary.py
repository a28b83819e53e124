"""Pods of Jobs and tests fit where those of the services do: quotas, labels, variables."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts import matrix
from tests.charts.helm import SERVICES, UMBRELLA, Document, Helm, Values, environment, pod_specs

LIMIT: Values = {"resources": {"limits": {"cpu": "100m"}}}
EXTRA: Values = {
    "podLabels": {"team": "agents"},
    "podAnnotations": {"example.com/note": "yes"},
    "extraEnv": [{"name": "TEMPORAL_GRPC_META_TENANT", "value": "a"}],
    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
}


def made(documents: list[Document]) -> dict[str, Document]:
    """Return every pod that the objects make, by kind and name without a hash."""
    pods = {}
    for document in documents:
        pod = document if document["kind"] == "Pod" else document.get("spec", {}).get("template")
        if pod and "containers" in pod["spec"]:
            name = document["metadata"]["name"]
            name = name.rpartition("-")[0] if document["kind"] == "Job" else name
            pods[f"{document['kind']}/{name}"] = pod
    return pods


def test_every_pod_can_have_a_limit_of_cpu(helm4: Helm):
    """A quota of `limits.cpu` forbids pods without one."""
    values = matrix.merged(
        matrix.least(UMBRELLA),
        {
            **dict.fromkeys(SERVICES, LIMIT),
            "temporal": {"devServer": LIMIT},
            "global": {"stigma": {"tests": LIMIT}},
        },
    )
    values["stigma-api"] = {**LIMIT, "setup": LIMIT}
    pods = pod_specs(helm4.documents(UMBRELLA, values))
    assert len(pods) == 11
    for name, pod in pods.items():
        [container] = pod["containers"]
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name
        assert container["resources"]["requests"], name


def test_own_limits_of_tests(helm4: Helm):
    values = matrix.merged(matrix.least(UMBRELLA), {"tests": LIMIT, "ai-worker": {"tests": LIMIT}})
    pods = pod_specs(helm4.documents(UMBRELLA, values))
    limited = {
        name
        for name, pod in pods.items()
        if "cpu" in pod["containers"][0]["resources"].get("limits", {})
    }
    assert limited == {"Pod/stigma-test-handshake", "Pod/stigma-ai-worker-test-ready"}


@pytest.mark.parametrize("chart", SERVICES)
def test_pods_of_jobs_and_tests_have_the_labels_and_annotations(helm4: Helm, chart):
    pods = made(helm4.documents(chart, matrix.merged(matrix.least(chart), EXTRA)))
    assert len(pods) == (3 if chart == "stigma-api" else 2)
    for name, pod in pods.items():
        assert EXTRA["podLabels"].items() <= pod["metadata"]["labels"].items(), name
        assert EXTRA["podAnnotations"].items() <= pod["metadata"]["annotations"].items(), name


@pytest.mark.parametrize(
    ("chart", "name"),
    [("stigma-api", "Job/stigma-api-setup"), ("zigflow-worker", "Pod/stigma-test-handshake")],
)
def test_pods_that_connect_to_temporal_have_the_variables_and_volumes(helm4: Helm, chart, name):
    values = matrix.merged(matrix.least(UMBRELLA), {chart: EXTRA})
    pod: dict[str, Any] = made(helm4.documents(UMBRELLA, values))[name]["spec"]
    [container] = pod["containers"]
    assert environment(container)["TEMPORAL_GRPC_META_TENANT"] == "a"
    assert {"name": "extra", "mountPath": "/extra"} in container["volumeMounts"]
    assert {"name": "extra", "emptyDir": {}} in pod["volumes"]
    plain = made(helm4.documents(UMBRELLA, matrix.least(UMBRELLA)))[name]
    assert "extra" not in str(plain).lower()
