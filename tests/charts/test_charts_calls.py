"""Calls in the engine's chart: authorities, policy, sources, patterns that are the code's."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.charts import matrix
from tests.charts.helm import CHARTS, UMBRELLA, Helm, Values, environment, pod_specs
from zigflow_worker.errors import WorkflowError
from zigflow_worker.outgoing.policy import OutgoingPolicy

ENGINE = "zigflow-worker"
RULES = (
    *(
        "10.0.0.0/8",
        "10.0.0.1",
        "10.0.0.0/255.0.0.0",
        "10.1.2.3/8",
        "0.0.0.0/0",
        "::/0",
        "fc00::/7",
    ),
    *(
        "::1",
        "2001:db8::/32",
        "::ffff:10.0.0.0/104",
        "*.internal.example.com",
        "shop.svc",
        "*",
        "h_1",
    ),
    *("10.0.0.0/33", "10.0.0/8", "256.0.0.0/8", "10.0.0.0/", "fc00::/129", "a b", "shop/x", ""),
    *("https://shop.svc", "shop.svc:8080", "/8"),
)
REDIRECTIONS = (
    *(
        "api.example.com:443:10.1.2.3:8443",
        "::10.1.2.3:",
        ":::",
        "a:443:[fd00::1]:65535",
        "[::1]:1:a:2",
    ),
    *("foo", "a:443:b", "a:65536:b:1", "a:x:b:1", "a:1:fd00::1:2", "a b:1:c:2", "a:1:b:999999", ""),
)


def pattern(name: str) -> re.Pattern[str]:
    """Return the pattern of the items of a value of `calls`."""
    schema = json.loads((CHARTS / ENGINE / "values.schema.json").read_text())
    return re.compile(schema["properties"]["calls"]["properties"][name]["items"]["pattern"])


def is_accepted(deny: Sequence[str] = (), connect_to: Sequence[str] = ()) -> bool:
    """Whether the engine starts with a policy."""
    try:
        OutgoingPolicy((), deny, connect_to)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("rule", RULES)
def test_patterns_of_rules_are_the_engines(rule):
    expected = is_accepted(deny=[rule])
    for name in ("allow", "deny"):
        assert bool(pattern(name).search(rule)) == expected


@pytest.mark.parametrize("text", REDIRECTIONS)
def test_pattern_of_redirections_is_the_engines(text):
    assert bool(pattern("connectTo").search(text)) == is_accepted(connect_to=[text])


@pytest.mark.parametrize(
    ("name", "volume"),
    [
        (
            "caSecret",
            {"secret": {"secretName": "ca", "items": [{"key": "b.pem", "path": "b.pem"}]}},
        ),
        (
            "caConfigMap",
            {"configMap": {"name": "ca", "items": [{"key": "b.pem", "path": "b.pem"}]}},
        ),
    ],
)
def test_own_authorities_are_one_value(helm4: Helm, name, volume):
    pod = engine(helm4, {"calls": {name: {"name": "ca", "key": "b.pem"}}})
    [container] = pod["containers"]
    assert environment(container)["SSL_CERT_FILE"] == "/etc/stigma/calls-ca/b.pem"
    assert {"name": "calls-ca", **volume} in pod["volumes"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts["calls-ca"] == "/etc/stigma/calls-ca"


def test_without_own_authorities_the_systems_are_trusted(helm4: Helm):
    [container] = engine(helm4, {})["containers"]
    assert "SSL_CERT_FILE" not in environment(container)


def test_every_source_of_a_projected_volume_is_taken(helm4: Helm):
    sources: list[dict[str, Any]] = [
        {
            "secret": {
                "name": "a",
                "optional": True,
                "items": [{"key": "k", "path": "a/k", "mode": 256}],
            }
        },
        {"configMap": {"name": "b"}},
        {"serviceAccountToken": {"path": "token", "audience": "shop"}},
        {"downwardAPI": {"items": []}},
        {"clusterTrustBundle": {"name": "c", "path": "c.pem"}},
    ]
    pod = engine(helm4, {"calls": {"secrets": sources}})
    [volume] = [each for each in pod["volumes"] if each["name"] == "secrets"]
    assert volume["projected"]["sources"] == sources


@pytest.mark.parametrize(
    ("address", "is_reached"),
    [
        *((address, False) for address in ("10.1.2.3", "172.16.0.1", "192.168.9.9", "100.64.0.1")),
        *((address, False) for address in ("fd00::1", "fec0::1", "198.18.0.1", "240.0.0.1")),
        *((address, False) for address in ("::ffff:10.1.2.3", "64:ff9b::a01:203", "127.0.0.1")),
        *((address, True) for address in ("8.8.8.8", "104.18.0.1", "2606:4700::1111")),
    ],
)
async def test_documents_in_production_reach_public_addresses_alone(
    helm4: Helm, address, is_reached
):
    pods = pod_specs(helm4.documents(UMBRELLA, matrix.production()))
    given = environment(pods["Deployment/stigma-zigflow-worker"]["containers"][0])

    async def resolve(_host: str, _port: int) -> list[str]:
        return [address]

    policy = OutgoingPolicy(
        json.loads(given["STIGMA_OUTGOING_ALLOW"]),
        json.loads(given["STIGMA_OUTGOING_DENY"]),
        resolve=resolve,
    )
    if is_reached:
        assert await policy.addresses("shop.example.com", 443) == [(address, 443)]
    else:
        with pytest.raises(WorkflowError, match="the outgoing policy does not allow"):
            await policy.addresses("temporal-frontend.temporal.svc", 7233)


def engine(helm: Helm, values: Values) -> dict[str, Any]:
    """Return the spec of the engine's pod."""
    pods = pod_specs(helm.documents(ENGINE, matrix.merged(matrix.least(ENGINE), values)))
    return pods["Deployment/stigma-zigflow-worker"]
