"""The console in the cluster: nothing unless asked for, and then no more than was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts import matrix
from tests.charts.helm import Helm, RefusedError, environment, pod_specs

CHART = "stigma-api"
ON = {"console": {"enabled": True}}
HOST = "stigma.example.com"


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
    _, rule = objects["NetworkPolicy", "x-stigma-api"]["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == ["grpc", "console"]


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


def routed(**console: Any) -> dict[str, Any]:
    return {"console": {"enabled": True, **console}}


def test_an_ingress_has_tls_and_leads_to_the_consoles_service(helm4: Helm):
    values = routed(ingress={"enabled": True, "host": HOST, "tlsSecret": "console-tls"})
    objects = rendered(helm4, **values)
    spec = objects["Ingress", "x-stigma-api-console"]["spec"]
    assert spec["tls"] == [{"hosts": [HOST], "secretName": "console-tls"}]
    [rule] = spec["rules"]
    [path] = rule["http"]["paths"]
    assert (rule["host"], path["path"]) == (HOST, "/")
    service = objects["Service", path["backend"]["service"]["name"]]
    [port] = service["spec"]["ports"]
    assert port["name"] == path["backend"]["service"]["port"]["name"]
    assert "ingressClassName" not in spec
    # Where the controller has a certificate of its own there is TLS all the same.
    own = rendered(helm4, **routed(ingress={"enabled": True, "host": HOST, "className": "nginx"}))
    spec = own["Ingress", "x-stigma-api-console"]["spec"]
    assert (spec["tls"], spec["ingressClassName"]) == ([{"hosts": [HOST]}], "nginx")


def test_a_route_joins_a_gateway_or_has_one_of_its_own(helm4: Helm):
    parents = [{"name": "shared", "namespace": "gateways", "sectionName": "https"}]
    joins = routed(gateway={"enabled": True, "host": HOST, "parentRefs": parents})
    objects = rendered(helm4, **joins)
    spec = objects["HTTPRoute", "x-stigma-api-console"]["spec"]
    assert (spec["parentRefs"], spec["hostnames"]) == (parents, [HOST])
    [backend] = spec["rules"][0]["backendRefs"]
    [port] = objects["Service", backend["name"]]["spec"]["ports"]
    assert backend["port"] == port["port"]
    assert not [kind for kind, _ in objects if kind == "Gateway"]
    own = routed(
        gateway={"enabled": True, "host": HOST, "className": "envoy", "tlsSecret": "console-tls"}
    )
    objects = rendered(helm4, **own)
    [parent] = objects["HTTPRoute", "x-stigma-api-console"]["spec"]["parentRefs"]
    gateway = objects["Gateway", parent["name"]]["spec"]
    [listener] = gateway["listeners"]
    assert gateway["gatewayClassName"] == "envoy"
    assert (listener["protocol"], listener["hostname"]) == ("HTTPS", HOST)
    assert listener["tls"]["certificateRefs"] == [{"kind": "Secret", "name": "console-tls"}]


@pytest.mark.parametrize(
    ("console", "message"),
    [
        ({"ingress": {"enabled": True, "host": HOST}}, "of no use without console.enabled"),
        ({"gateway": {"enabled": True, "host": HOST}}, "console.gateway"),
        (routed(ingress={"enabled": True})["console"], "console.ingress.host is needed"),
        (routed(ingress={"enabled": True, "host": "a b"})["console"], "/console/ingress/host"),
        (routed(gateway={"enabled": True, "parentRefs": [{"name": "g"}]})["console"], "host is"),
        (
            routed(gateway={"enabled": True, "host": HOST})["console"],
            "console.gateway.className is needed",
        ),
        (
            routed(gateway={"enabled": True, "host": HOST, "className": "c"})["console"],
            "console.gateway.tlsSecret is needed",
        ),
    ],
)
def test_a_way_to_the_console_that_leads_nowhere_is_refused(helm4: Helm, console: Any, message):
    with pytest.raises(RefusedError, match=message):
        rendered(helm4, console=console)
