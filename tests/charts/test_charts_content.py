"""What the manifests say: secrets, network, scaling, storage, and files that services read."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ai_worker.mcp_resources import load_mcp_servers
from ai_worker.resources import load_providers
from stigma.contracts.durations import parse_duration
from stigma.contracts.task_queues import TaskQueues
from stigma_api.access.principals import Principals
from stigma_cli.definition_files import read_agents
from stigma_cli.devserver import GOGC, TUNING
from stigma_cli.setup import LEAST_RETENTION
from tests.charts import matrix
from tests.charts.helm import (
    ALL,
    CHARTS,
    ROOT,
    SERVICES,
    UMBRELLA,
    WORKERS,
    Document,
    Helm,
    Values,
    environment,
    named,
    pod_specs,
)
from zigflow_worker.validation import validate

VALUES = {
    **{f"{chart}-everything": (chart, matrix.everything(chart)) for chart in SERVICES},
    **{f"{chart}-least": (chart, matrix.least(chart)) for chart in ALL},
    "production": (UMBRELLA, matrix.production()),
}
_PERSISTENT = {"temporal": {"devServer": {"persistence": {"enabled": True}}}}
QUEUES = TaskQueues("blue-")


def test_generated_files_are_fresh():
    done = subprocess.run(
        [sys.executable, ROOT / "tools/charts/generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_versions_are_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for file in CHARTS.glob("*/Chart.yaml"):
        chart = YAML(typ="safe", pure=True).load(file.read_text())
        versions = {chart["version"], chart["appVersion"]}
        versions |= {each["version"] for each in chart.get("dependencies", [])}
        assert versions == {project}, file


@pytest.mark.parametrize("name", VALUES)
def test_no_secret_is_outside_a_secret(helm4: Helm, name):
    documents = helm4.documents(*VALUES[name])
    secrets = [d for d in documents if d["kind"] == "Secret"]
    hidden = {value for secret in secrets for value in secret["stringData"].values()}
    shown = [d for d in documents if d["kind"] != "Secret"]
    assert not [value for value in hidden if value in str(shown)]
    for pod in pod_specs(shown).values():
        for container in pod["containers"]:
            for variable in container.get("env", []):
                if variable.get("value", "").startswith("/etc/stigma/"):
                    continue  # a mounted Secret's file
                if re.search("KEY$|TOKEN|PASSWORD|SECRET|HEADERS", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], variable["name"]
    assert "sha256" not in str([d for d in shown if d["kind"] == "ConfigMap"])


@pytest.mark.parametrize("name", VALUES)
def test_selectors_select_only_the_services_pods(helm4: Helm, name):
    documents = helm4.documents(*VALUES[name])
    others = [d["metadata"]["labels"] for d in documents if d["kind"] == "Pod"]
    others += [d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] == "Job"]
    assert others
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        labels = selector.get("matchLabels", selector)
        if document["metadata"]["name"].endswith(("-setup", "-test-ready", "-test-handshake")):
            continue  # a policy for one of them
        if document["kind"] not in {"ServiceMonitor", "Job"} and labels:
            assert not [each for each in others if labels.items() <= each.items()]


def test_generated_principals_can_be_used(helm4: Helm, tmp_path):
    values = matrix.everything("stigma-api")
    secret = named(helm4.documents("stigma-api", values), "Secret")["stringData"]
    file = tmp_path / "principals.yaml"
    file.write_text(secret["principals.yaml"])
    principals = Principals.load(file)
    own = principals.by_key(secret["api-key"])
    assert own is not None
    assert own.name == "stigma"
    assert own.callbacks_enabled
    assert not own.is_admin
    assert len(secret["api-key"]) >= 40
    billing = principals.by_certificate(["billing.example.com"])
    assert billing is not None
    assert not billing.callbacks_enabled


def test_keys_are_random(helm4: Helm):
    # Another release name, or the rendering would come from the cache.
    keys = {
        named(helm4.documents("stigma-api", matrix.least("stigma-api"), release=name), "Secret")[
            "stringData"
        ]["api-key"]
        for name in ("a", "b")
    }
    assert len(keys) == 2


def test_principals_change_without_a_new_pod(helm4: Helm):
    """The API reads them again."""
    change: Values = {"auth": {"principals": [{"name": "another"}]}}
    values = matrix.everything("stigma-api")
    before = helm4.documents("stigma-api", values)
    after = helm4.documents("stigma-api", matrix.merged(values, change))
    assert named(before, "Deployment") == named(after, "Deployment")
    secrets = [named(each, "Secret", "full-stigma-api-auth") for each in (before, after)]
    assert "another" in secrets[1]["stringData"]["principals.yaml"]
    assert "another" not in secrets[0]["stringData"]["principals.yaml"]


def test_config_changes_replace_pods(helm4: Helm):
    values = matrix.everything("ai-worker")
    changes: list[Values] = [{}, {"providers": []}, {"mcpServers": []}]
    [before, *after] = (
        named(helm4.documents("ai-worker", matrix.merged(values, change)), "Deployment")
        for change in changes
    )
    old = before["spec"]["template"]["metadata"]["annotations"]
    for each in after:
        assert each["spec"]["template"]["metadata"]["annotations"] != old


def test_provider_file_can_be_read(helm4: Helm, tmp_path):
    config = named(helm4.documents("ai-worker", matrix.everything("ai-worker")), "ConfigMap")
    file = tmp_path / "providers.yaml"
    file.write_text(config["data"]["providers.yaml"])
    [provider] = load_providers(file, {"LOCAL_MODELS_KEY": "key"})
    assert provider.name == "local"
    tickets, orders = load_mcp_servers(file, {"LOCAL_MODELS_KEY": "key"})
    assert tickets.headers["Authorization"].get_secret_value() == "Bearer key"
    assert orders.oauth is not None
    assert orders.oauth.client_secret.get_secret_value() == "key"


def test_mounted_files_are_where_variables_say(helm4: Helm):
    for chart in SERVICES:
        pods = pod_specs(helm4.documents(chart, matrix.everything(chart)))
        [pod] = [pods[name] for name in pods if name.startswith("Deployment/")]
        container = pod["containers"][0]
        mounts = {each["mountPath"] for each in container["volumeMounts"]}
        paths = [
            value
            for value in environment(container).values()
            if isinstance(value, str) and value.startswith("/etc/stigma/")
        ]
        assert paths or chart == "stigma-orchestrator"
        for path in paths:
            assert str(Path(path).parent) in mounts or path in mounts
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {each["name"] for each in container["volumeMounts"]} == volumes


def test_sqlite_is_one_pod_with_a_volume(helm4: Helm):
    documents = helm4.documents("stigma-api", matrix.least("stigma-api"))
    deployment = named(documents, "Deployment")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    claim = named(documents, "PersistentVolumeClaim")["metadata"]["name"]
    volumes = {v["name"]: v for v in deployment["template"]["spec"]["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"] == {"claimName": claim}


def test_postgresql_is_replaced_without_a_pause(helm4: Helm):
    documents = helm4.documents("stigma-api", matrix.everything("stigma-api"))
    strategy = named(documents, "Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "PersistentVolumeClaim" not in {d["kind"] for d in documents}


@pytest.mark.parametrize(
    ("chart", "queues"),
    [
        (
            "stigma-orchestrator",
            {QUEUES.orchestrator: {"workflow", "activity"}, QUEUES.watch: {"activity"}},
        ),
        ("ai-worker", {QUEUES.ai: {"activity"}}),
        ("zigflow-worker", {QUEUES.engine: {"workflow", "activity"}}),
    ],
)
def test_workers_scale_by_their_queues(helm4: Helm, chart, queues):
    documents = helm4.documents(chart, matrix.everything(chart))
    scaled = named(documents, "ScaledObject")["spec"]
    triggers = [trigger["metadata"] for trigger in scaled["triggers"]]
    assert {t["taskQueue"]: set(t["queueTypes"].split(",")) for t in triggers} == queues
    assert all(t["enableTLS"] == "true" for t in triggers)
    assert "replicas" not in named(documents, "Deployment")["spec"]
    authentication = named(documents, "TriggerAuthentication")["metadata"]["name"]
    assert {t["authenticationRef"]["name"] for t in scaled["triggers"]} == {authentication}


@pytest.mark.parametrize("chart", WORKERS)
def test_workers_are_never_scaled_to_nothing_by_default(helm4: Helm, chart):
    on = matrix.merged(matrix.least(chart), {"autoscaling": {"enabled": True}})
    scaled = named(helm4.documents(chart, on), "ScaledObject")["spec"]
    assert scaled["minReplicaCount"] == 1
    [enabled] = {trigger["metadata"]["enableTLS"] for trigger in scaled["triggers"]}
    assert enabled == "false"  # KEDA's own default is true


@pytest.mark.parametrize("chart", WORKERS)
def test_versions_have_their_own_scaling_and_budget(helm4: Helm, chart):
    documents = helm4.documents(chart, matrix.versioned(chart))
    kinds = {document["kind"] for document in documents}
    assert not kinds & {"Deployment", "ScaledObject", "PodDisruptionBudget"}
    worker = named(documents, "WorkerDeployment")
    name = worker["metadata"]["name"]
    assert (
        worker["spec"]["workerOptions"]["connectionRef"]["name"]
        == (named(documents, "Connection")["metadata"]["name"])
    )
    templates = [d["spec"] for d in documents if d["kind"] == "WorkerResourceTemplate"]
    made = {each["template"]["kind"]: each["template"]["spec"] for each in templates}
    assert made.keys() == {"PodDisruptionBudget", "ScaledObject"}
    assert {each["workerDeploymentRef"]["name"] for each in templates} == {name}
    for trigger in made["ScaledObject"]["triggers"]:
        metadata = trigger["metadata"]
        assert metadata["workerDeploymentBuildIdFromEnv"] == "TEMPORAL_WORKER_BUILD_ID"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("temporal:7233", "temporal.apps.svc:7233"),
        ("temporal.other:7233", "temporal.other:7233"),
        ("temporal.example.com:7233", "temporal.example.com:7233"),
    ],
)
def test_temporal_is_found_from_other_namespaces(helm4: Helm, address, found):
    temporal = {"address": address, "apiKeySecret": {"name": "cloud"}}
    values = {"temporal": temporal, "autoscaling": {"enabled": True}}
    expected = address.split(":")[0] if found != address else None
    scaled = named(helm4.documents("ai-worker", values), "ScaledObject")["spec"]
    for trigger in scaled["triggers"]:
        assert trigger["metadata"]["endpoint"] == found
        assert trigger["metadata"].get("tlsServerName") == expected
    versioned = matrix.merged(values, {"versioning": {"mode": "controller"}})
    connection = named(helm4.documents("ai-worker", versioned), "Connection")["spec"]
    assert connection["hostPort"] == found
    assert connection.get("tls", {}).get("serverName") == expected


def test_the_api_is_never_a_versioned_worker(helm4: Helm):
    values = matrix.merged(
        matrix.production(), {"global": {"stigma": {"versioning": {"mode": "controller"}}}}
    )
    documents = helm4.documents(UMBRELLA, values)
    assert [d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"] == ["stigma-api"]
    assert len([d for d in documents if d["kind"] == "WorkerDeployment"]) == 3


def test_setup_job_asks_for_enough(helm4: Helm):
    for chart, values in VALUES.values():
        for job in (d for d in helm4.documents(chart, values) if d["kind"] == "Job"):
            container = job["spec"]["template"]["spec"]["containers"][0]
            *command, retention = container["command"]
            assert command == ["stigma", "setup", "--retention"]
            assert parse_duration(retention) >= LEAST_RETENTION
            assert "TEMPORAL_ADDRESS" in environment(container)


def test_handshake_documents_are_valid(helm4: Helm, tmp_path):
    documents = helm4.documents(UMBRELLA, matrix.least(UMBRELLA))
    data = named(documents, "ConfigMap", "stigma-test-handshake")["data"]
    for name, content in data.items():
        (tmp_path / name).write_text(content)
    [read] = read_agents([tmp_path / "agent.yaml"])
    assert read.definition.name in data["workflow.yaml"]
    assert validate([str(tmp_path / "workflow.yaml")]) == 0
    [container] = pod_specs(documents)["Pod/stigma-test-handshake"]["containers"]
    assert container["image"].startswith("stigma/stigma-api:")
    assert {"TEMPORAL_ADDRESS", "STIGMA_API_ADDRESS"} <= environment(container).keys()


def test_dev_server_is_tuned_as_everywhere(helm4: Helm):
    documents = helm4.documents(UMBRELLA, matrix.least(UMBRELLA))
    [container] = pod_specs(documents)["Deployment/stigma-temporal"]["containers"]
    given = {each for each in container["args"] if "dynamic-config" in each}
    assert given == {f"--dynamic-config-value={setting}" for setting in TUNING}
    assert environment(container)["GOGC"] == GOGC
    pinned = re.search(
        r"^VERSION=(.+)$", (ROOT / "tools/temporal/ensure").read_text(), re.MULTILINE
    )
    assert pinned
    assert container["image"].endswith(f":{pinned[1]}")


def test_long_names_fit_and_differ(helm4: Helm):
    values = matrix.merged(matrix.least(UMBRELLA), _PERSISTENT)
    documents = helm4.documents(UMBRELLA, values, release="r" * 53)
    names = [(d["kind"], d["metadata"]["name"]) for d in documents]
    assert len(names) == len(set(names))
    for document in documents:
        assert len(document["metadata"]["name"]) <= 63
        labels: Document = document["metadata"].get("labels", {})
        assert all(len(value) <= 63 for value in labels.values())
