"""Whom the pods of the charts may reach, and who may reach them, by their NetworkPolicies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts import matrix
from tests.charts.helm import SERVICES, UMBRELLA, Document, Helm, Values
from tests.charts.network import admitted, lets_out, selects

ON: Values = {"networkPolicy": {"enabled": True}}
SHOP = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
HERE: dict[str, Any] = {"podSelector": {}}
PRIVATE = ("10.0.0.1", "172.16.5.5", "192.168.1.1", "100.64.0.1", "169.254.169.254")
METADATA = ("169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fe80::1")
PUBLIC = ("8.8.8.8", "104.18.0.1", "2606:4700::1111")


@pytest.mark.parametrize("chart", ["ai-worker", "zigflow-worker"])
def test_callers_of_the_internet_cannot_reach_what_is_private(helm4: Helm, chart):
    on = matrix.merged(matrix.least(chart), {"networkPolicy": {"enabled": True}})
    policy = policy_of(helm4.documents(chart, on))
    for address in (*PRIVATE, *METADATA):
        assert not lets_out(policy, address, 443), address
        assert not lets_out(policy, address, 80), address
        assert lets_out(policy, address, 7233), "Temporal may be anywhere unless told"
    for address in PUBLIC:
        assert lets_out(policy, address, 443), address
        assert not lets_out(policy, address, 25), address
    listed = matrix.merged(on, {"networkPolicy": {"allowedCidrs": ["10.0.0.0/30"]}})
    policy = policy_of(helm4.documents(chart, listed))
    assert lets_out(policy, "10.0.0.1", 443)
    assert not lets_out(policy, "10.0.0.9", 443)
    closed = matrix.merged(on, {"egress": {"internet": False}})
    policy = policy_of(helm4.documents(chart, closed))
    assert not [address for address in PUBLIC if lets_out(policy, address, 443)]


@pytest.mark.parametrize("chart", ["stigma-api", "stigma-orchestrator"])
def test_others_cannot_reach_the_internet(helm4: Helm, chart):
    on = matrix.merged(matrix.least(chart), {"networkPolicy": {"enabled": True}})
    policy = policy_of(helm4.documents(chart, on))
    assert not [a for a in (*PUBLIC, *PRIVATE, *METADATA) if lets_out(policy, a, 443)]


def test_production_reaches_what_it_lists(helm4: Helm):
    documents = helm4.documents(UMBRELLA, matrix.production())
    policies = {d["metadata"]["name"]: d for d in documents if d["kind"] == "NetworkPolicy"}
    auxiliary = [
        name for name in policies if name.endswith(("-setup", "-test-ready", "-handshake"))
    ]
    assert len(policies) - len(auxiliary) == 4
    assert len(auxiliary) == 6
    assert lets_out(policies["stigma-api"], "10.20.3.4", 5432)
    assert not lets_out(policies["stigma-api"], "10.21.3.4", 5432)
    for policy in policies.values():
        assert not lets_out(policy, "10.0.0.1", 7233)


@pytest.mark.parametrize("chart", SERVICES)
def test_callers_do_not_reach_the_admin_port(helm4: Helm, chart):
    on = matrix.merged(matrix.least(chart), ON)
    callers = matrix.merged(on, {"networkPolicy": {"from": [HERE, SHOP]}})
    policy = policy_of(helm4.documents(chart, callers))
    assert SHOP not in admitted(policy, "admin")
    assert HERE in admitted(policy, "admin")
    served = admitted(policy, "grpc")
    assert (SHOP in served and HERE in served) == (chart == "stigma-api")
    scraped = matrix.merged(callers, {"networkPolicy": {"monitoringFrom": [MONITORING]}})
    policy = policy_of(helm4.documents(chart, scraped))
    assert MONITORING in admitted(policy, "admin")
    assert not [peer for peer in (HERE, SHOP) if peer in admitted(policy, "admin")]
    assert MONITORING not in admitted(policy, "grpc")


@pytest.mark.parametrize("chart", SERVICES)
def test_names_are_looked_up_where_values_say(helm4: Helm, chart):
    on = matrix.merged(matrix.least(chart), ON)
    policy = policy_of(helm4.documents(chart, on))
    assert not lets_out(policy, "169.254.20.10", 53)
    local = {"dnsTo": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "dnsPorts": [53, 5353]}
    documents = helm4.documents(chart, matrix.merged(on, {"networkPolicy": local}))
    for policy in (each for each in documents if each["kind"] == "NetworkPolicy"):
        assert lets_out(policy, "169.254.20.10", 53)
        assert lets_out(policy, "169.254.20.10", 5353)
        assert not lets_out(policy, "169.254.20.10", 80)


def test_jobs_tests_and_the_dev_server_reach_what_they_need_where_all_is_denied(helm4: Helm):
    values = matrix.merged(matrix.least(UMBRELLA), {"global": {"stigma": ON}})
    documents = helm4.documents(UMBRELLA, values)
    policies = [each for each in documents if each["kind"] == "NetworkPolicy"]
    pods = labels_of_pods(documents)
    assert len(pods) == 4 + 1 + 1 + 4 + 1  # services, dev server, setup, their tests, the handshake
    for name, labels in pods.items():
        own = [policy for policy in policies if selects(policy, labels)]
        assert len(own) == 1, name
        temporal = next(labels for key, labels in pods.items() if key.endswith("-temporal"))
        if name.endswith("-test-ready"):
            service = pods[f"Deployment/{name.removeprefix('Pod/').removesuffix('-test-ready')}"]
            assert sends_to(own[0], service)
            assert not sends_to(own[0], temporal)
        elif not name.endswith("-temporal"):
            assert sends_to(own[0], temporal)
    server = next(each for each in policies if each["metadata"]["name"] == "stigma-temporal")
    assert HERE in admitted(server, "grpc")


@pytest.mark.parametrize("chart", [*SERVICES, UMBRELLA])
def test_without_policies_there_is_none(helm4: Helm, chart):
    kinds = {document["kind"] for document in helm4.documents(chart, matrix.least(chart))}
    assert "NetworkPolicy" not in kinds


def policy_of(documents: list[Document]) -> Document:
    """Return the policy of a service's pods: those of its test and Job have longer names."""
    policies = [each for each in documents if each["kind"] == "NetworkPolicy"]
    return min(policies, key=lambda policy: len(policy["metadata"]["name"]))


def labels_of_pods(documents: list[Document]) -> dict[str, dict[str, str]]:
    """Return the labels of every pod that the objects make, by kind and name."""
    found = {}
    for document in documents:
        made = document if document["kind"] == "Pod" else document.get("spec", {}).get("template")
        if made is not None and "containers" in made["spec"]:
            name = f"{document['kind']}/{document['metadata']['name']}"
            found[name] = made["metadata"]["labels"]
    return found


def sends_to(policy: Document, labels: dict[str, str]) -> bool:
    """Whether a rule of egress is for pods with these labels, by name."""
    peers = [peer for rule in policy["spec"]["egress"] for peer in rule.get("to", [])]
    wanted = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
    return any(each.items() <= labels.items() for each in wanted)
