"""Wrong values are refused before anything is installed, and the message says what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts import matrix
from tests.charts.helm import ALL, CHARTS, SERVICES, UMBRELLA, Helm, RefusedError

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *((c, {"replcas": 2}, "additional properties 'replcas' not allowed") for c in SERVICES),
    *((c, {"replicas": "two"}, "at '/replicas': got string, want integer") for c in SERVICES),
    *((c, {"replicas": -1}, "at '/replicas': minimum: got -1, want 0") for c in SERVICES),
    *((c, {"log": {"level": "LOUD"}}, "at '/log/level': value must be one of") for c in SERVICES),
    *((c, {"runAsUser": 0}, "at '/runAsUser': minimum: got 0, want 1") for c in SERVICES),
    *((c, {"temporal": {"address": ""}}, "temporal.address is needed") for c in SERVICES),
    *((c, {"temporal": {"address": "temporal"}}, "at '/temporal/address'") for c in SERVICES),
    *((c, {"temporal": {"adress": "t:1"}}, "at '/temporal': additional prop") for c in SERVICES),
    *((c, {"shutdownGraceSeconds": 0}, "at '/shutdownGraceSeconds': minimum") for c in SERVICES),
    *((c, {"networkPolicy": {"allowedCidrs": ["x"]}}, "/allowedCidrs/0'") for c in SERVICES),
    *((c, {"image": {"digest": "latest"}}, "at '/image/digest': 'latest'") for c in SERVICES),
    *((c, {"networkPolicy": {"allowedCidrs": ["10.0.0.0/33"]}}, "'10.0.0.0/33'") for c in SERVICES),
    *((c, {"global": {"stigma": {"temporl": {}}}}, "properties 'temporl' not") for c in ALL),
    *((c, {"global": {"stigam": {}}}, "global.stigam is not known: did you mean") for c in ALL),
    *((c, {"global": {"Stigma": {}}}, "global.Stigma is not known: did you mean") for c in ALL),
    ("stigma-api", {"replicas": 2}, "at '/replicas': maximum: got 2, want 1"),
    ("stigma-api", {"autoscaling": {"enabled": True}}, "at '/autoscaling/enabled'"),
    ("stigma-api", {"registry": {"type": "mysql"}}, "must be one of 'sqlite', 'postgresql'"),
    ("stigma-api", {"registry": {"type": "postgresql"}}, "registry.postgresql.urlSecret.name is"),
    ("stigma-api", {"tls": {"enabled": True}}, "tls.secret is needed with tls.enabled"),
    ("stigma-api", {"auth": {"generatedKey": False}}, "nobody could call the API"),
    (
        "stigma-api",
        {"auth": {"principals": [{"name": "a", "key_sha256": ["my-key"]}]}},
        "at '/auth/principals/0/key_sha256/0'",
    ),
    (
        "stigma-api",
        {"auth": {"principals": [{"name": "a", "actions": ["agents.rule"]}]}},
        "at '/auth/principals/0/actions/0': value must be one of 'agents.read'",
    ),
    ("stigma-api", {"versioning": {"mode": "controller"}}, "properties 'versioning' not allowed"),
    (
        "stigma-orchestrator",
        {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}},
        "autoscaling.minReplicas is larger than autoscaling.maxReplicas",
    ),
    (
        "stigma-orchestrator",
        {"versioning": {"mode": "controller", "rollout": {"strategy": "Progressive"}}},
        "versioning.rollout.steps is needed with the strategy Progressive",
    ),
    (
        "stigma-orchestrator",
        {"versioning": {"mode": "controller"}, "temporal": {"tls": {"enabled": True}}},
        "talks TLS only with credentials",
    ),
    (
        "ai-worker",
        {"apiKeys": [{"env": "OPENAI_API_KEY", "value": "sk-1"}]},
        "at '/apiKeys/0': missing properties 'secret', 'key'",
    ),
    (
        "ai-worker",
        {"providers": [{"apiVersion": "stigma/v1", "kind": "Model", "metadata": {}, "spec": {}}]},
        "at '/providers/0/kind': value must be 'Provider'",
    ),
    ("zigflow-worker", {"api": {"address": ""}}, "api.address is needed"),
    ("zigflow-worker", {"api": {"keySecret": {"name": "k"}}}, "would go over the network in clear"),
    ("zigflow-worker", {"workflows": {"a.txt": "x"}}, "'a.txt' does not match pattern"),
    *(
        ("zigflow-worker", {"calls": {volume: [source]}}, f"at '/calls/{volume}/0{message}")
        for volume in ("secrets", "resources")
        for source, message in (
            ({"name": "shop"}, "': additional properties 'name' not allowed"),
            ({"secret": "shop"}, "/secret': got string, want object"),
            ({"secret": {}}, "/secret': missing property 'name'"),
            ({"secret": {"name": "a"}, "configMap": {"name": "b"}}, "': maxProperties: got 2"),
            ({}, "': minProperties: got 0, want 1"),
        )
    ),
    ("zigflow-worker", {"calls": {"deny": ["10.0.0.0/33"]}}, "at '/calls/deny/0': '10.0.0.0/33'"),
    ("zigflow-worker", {"calls": {"allow": ["a b"]}}, "at '/calls/allow/0': 'a b' does not match"),
    ("zigflow-worker", {"calls": {"connectTo": ["foo"]}}, "at '/calls/connectTo/0': 'foo' does"),
    (
        "zigflow-worker",
        {"calls": {"caSecret": {"name": "a"}, "caConfigMap": {"name": "b"}}},
        "calls.caSecret and calls.caConfigMap exclude each other",
    ),
    (
        "zigflow-worker",
        {"calls": {"caSecret": {"name": "a"}}, "extraEnv": [{"name": "SSL_CERT_FILE"}]},
        "sets SSL_CERT_FILE: take it out of extraEnv",
    ),
    (UMBRELLA, {"temporal": {"devServer": {"enabled": False}}}, "where is Temporal?"),
    (UMBRELLA, {"ai-wrker": {}}, "additional properties 'ai-wrker' not allowed"),
    (UMBRELLA, {"ai-worker": {"replicas": "x"}}, "at '/replicas': got string, want integer"),
    (UMBRELLA, {"stigma-api": {"replicas": 2}}, "at '/replicas': maximum: got 2, want 1"),
    (
        UMBRELLA,
        {"global": {"stigma": {"temporal": {"address": "t:7233"}}}},
        "temporal.devServer.enabled and global.stigma.temporal.address exclude each other",
    ),
    (
        UMBRELLA,
        {"stigma-api": {"tls": {"enabled": True, "secret": "s"}}},
        "stigma-api.tls.enabled and zigflow-worker.api.tls.enabled must agree",
    ),
    (
        UMBRELLA,
        {"stigma-api": {"auth": {"existingSecret": "s"}}},
        "set zigflow-worker.api.keySecret.name",
    ),
]


@pytest.mark.parametrize(
    ("chart", "wrong", "message"), REFUSED, ids=[f"{c}-{m[:40]}" for c, _, m in REFUSED]
)
def test_refused_with_a_readable_message(helm: Helm, chart, wrong, message):
    with pytest.raises(RefusedError) as refused:
        helm.template(chart, matrix.merged(matrix.least(chart), wrong))
    assert message in str(refused.value)
    assert "nil pointer" not in str(refused.value)


def test_sqlite_is_explained_where_the_schema_is_skipped(helm: Helm):
    sets = ["--set", "temporal.address=t:7233,replicas=2"]
    done = helm.run("template", "x", CHARTS / "stigma-api", "--skip-schema-validation", *sets)
    assert done.returncode != 0
    assert "SQLite serves one pod: set registry.type=postgresql" in done.stderr


@pytest.mark.parametrize("chart", ALL)
def test_values_of_other_charts_may_be_global(helm4: Helm, chart):
    others = {"imageRegistry": "elsewhere", "sigma": {"log": {}}, "stigmata": {}}
    values = matrix.merged(matrix.least(chart), {"global": others})
    assert helm4.documents(chart, values)
