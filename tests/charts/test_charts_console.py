"""The console in the cluster: nothing unless asked for, and then no more than was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts import matrix
from tests.charts.helm import Helm, RefusedError, environment, pod_specs

CHART = "stigma-api"
ON = {"console": {"enabled": True}}


def rendered(helm: Helm, **values: Any) -> dict[tuple[str, str], Any]:
    """Objects by kind and name."""
    documents = helm.documents(CHART, matrix.merged(matrix.least(CHART), values), release="x")
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def container(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    [found] = pod_specs(list(objects.values()))["Deployment/x-stigma-api"]["containers"]
    assert isinstance(found, dict)
    return found


def test_without_it_nothing_of_it_is_there(helm4: Helm):
    objects = rendered(helm4, networkPolicy={"enabled": True})
    assert not [name for _, name in objects if "console" in name]
    assert not [name for name in environment(container(objects)) if "CONSOLE" in name]
    assert "console" not in str(objects)


def test_it_has_a_service_of_its_own_inside_the_cluster(helm4: Helm):
    objects = rendered(helm4, service={"type": "LoadBalancer"}, **ON)
    service = objects["Service", "x-stigma-api-console"]["spec"]
    assert service["type"] == "ClusterIP"
    [port] = service["ports"]
    assert (port["port"], port["appProtocol"]) == (7301, "http")
    ports = {each["name"]: each["containerPort"] for each in container(objects)["ports"]}
    assert ports[port["targetPort"]] == 7301
    others = [
        o for (kind, name), o in objects.items() if kind == "Service" and "console" not in name
    ]
    assert not [p for other in others for p in other["spec"]["ports"] if p["port"] == 7301]
    served = rendered(helm4, tls={"enabled": True, "secret": "api-tls"}, **ON)
    [port] = served["Service", "x-stigma-api-console"]["spec"]["ports"]
    assert port["appProtocol"] == "https"


def test_its_port_is_open_to_those_who_may_reach_the_api(helm4: Helm):
    objects = rendered(helm4, networkPolicy={"enabled": True}, **ON)
    rule = objects["NetworkPolicy", "x-stigma-api"]["spec"]["ingress"][0]
    assert {port["port"] for port in rule["ports"]} == {"admin", "grpc", "console"}


def test_sessions_are_signed_with_one_secret(helm4: Helm):
    objects = rendered(helm4, **ON)
    reference = environment(container(objects))["STIGMA_CONSOLE_SESSION_SECRET"]["secretKeyRef"]
    made = objects["Secret", reference["name"]]["stringData"][reference["key"]]
    assert len(made) >= 32
    given = {"console": {"enabled": True, "sessionSecret": {"name": "mine", "key": "k"}}}
    objects = rendered(helm4, **given)
    assert ("Secret", "x-stigma-api-console") not in objects
    reference = environment(container(objects))["STIGMA_CONSOLE_SESSION_SECRET"]["secretKeyRef"]
    assert reference == {"name": "mine", "key": "k"}


@pytest.mark.parametrize("url", ["javascript:alert(1)", "temporal:8233", "https://a b"])
def test_a_link_that_is_none_is_refused(helm4: Helm, url: str):
    with pytest.raises(RefusedError, match="temporalUiUrl"):
        rendered(helm4, console={"enabled": True, "temporalUiUrl": url})
