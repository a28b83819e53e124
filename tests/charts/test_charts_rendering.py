"""Every set of values gives manifests that Kubernetes takes, and takes again on an upgrade."""

from __future__ import annotations

import itertools
import shutil
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

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
    chunks,
    named,
    parse,
    pod_specs,
)
from tests.charts.pod_security import violations
from tests.charts.schemas import kubernetes_versions, problems

SETS: dict[str, tuple[str, Callable[[], Values]]] = {
    **{f"{chart}-least": (chart, lambda c=chart: matrix.least(c)) for chart in ALL},  # type: ignore[misc]
    **{f"{chart}-everything": (chart, lambda c=chart: matrix.everything(c)) for chart in SERVICES},  # type: ignore[misc]
    **{f"{chart}-versioned": (chart, lambda c=chart: matrix.versioned(c)) for chart in WORKERS},  # type: ignore[misc]
    "production": (UMBRELLA, matrix.production),
}


def accepted(documents: list[Document]) -> None:
    """Fail unless every Kubernetes version takes the documents, in a restricted namespace."""
    found = [
        f"Kubernetes {version}: {document['kind']}/{document['metadata']['name']}{problem}"
        for version, document in itertools.product(kubernetes_versions(), documents)
        for problem in problems(document, version)
    ]
    for name, pod in pod_specs(documents).items():
        found += [f"{name}: {violation}" for violation in violations(pod)]
        found += [f"{name}: {each}" for each in _own_rules(pod)]
    assert not found, "\n".join(found)


def _own_rules(pod: dict[str, Any]) -> list[str]:
    containers = pod["containers"]
    broken = {
        "mounts a token": pod.get("automountServiceAccountToken") is not False,
        # A Service named stigma-api would become STIGMA_API_PORT=tcp://…
        "takes service links": pod.get("enableServiceLinks") is not False,
        "can write to its root": any(
            each["securityContext"].get("readOnlyRootFilesystem") is not True for each in containers
        ),
        "has no memory limit": any(
            "memory" not in each["resources"]["limits"] for each in containers
        ),
        "names a variable twice": any(
            len({variable["name"] for variable in each["env"]}) != len(each["env"])
            for each in containers
            if "env" in each
        ),
    }
    return [rule for rule, is_broken in broken.items() if is_broken]


def unchangeable(documents: list[Document]) -> dict[str, Any]:
    """Return what the API server refuses to change, by kind and name."""
    found: dict[str, Any] = {}
    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        key = f"{kind}/{document['metadata']['name']}"
        if kind == "Deployment":
            found[key] = spec["selector"]
        elif kind == "Job":
            found[key] = spec
        elif kind == "PersistentVolumeClaim":
            found[key] = {k: v for k, v in spec.items() if k != "resources"}
        elif kind == "Service":
            found[key] = spec.get("clusterIP")
    return found


@pytest.mark.parametrize("name", SETS)
def test_manifests_are_accepted(helm4: Helm, name):
    chart, values = SETS[name]
    accepted(helm4.documents(chart, values()))


@pytest.mark.parametrize("chart", ALL)
def test_each_switch_alone_is_accepted_and_upgraded_to(helm4: Helm, chart):
    before = unchangeable(helm4.documents(chart, matrix.least(chart)))
    tried = list(matrix.switches(chart))
    assert len(tried) >= 5
    for switch, values in tried:
        documents = helm4.documents(chart, values)
        accepted(documents)
        after = unchangeable(documents)
        changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
        assert not changed, f"{switch} changes {changed}"


@pytest.mark.parametrize("chart", SERVICES)
def test_everything_sets_every_value(chart):
    values = matrix.everything(chart)
    for path, _ in matrix.documented(chart):
        found: Any = values
        for key in path.split("."):
            assert key in found, f"tests/charts/values/{chart}.yaml does not set {path}"
            found = found[key]


@pytest.mark.parametrize("name", SETS)
def test_both_versions_of_helm_render_the_same(helm3: Helm, helm4: Helm, name):
    chart, values = SETS[name]
    older, newer = (chunks(each.template(chart, values())) for each in (helm3, helm4))
    random = "Secret/stigma-api-auth", "Secret/full-stigma-api-auth"
    for key in older.keys() | newer.keys():
        assert key in random or older[key].strip() == newer[key].strip()


def test_next_release_upgrades_in_place(helm4: Helm, tmp_path):
    released = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    shutil.copytree(CHARTS, tmp_path / "helm", symlinks=True)
    for file in (tmp_path / "helm").glob("*/Chart.yaml"):
        file.write_text(file.read_text().replace(released, "99.0.0"))
    for values in (matrix.least(UMBRELLA), matrix.production()):
        before = helm4.documents(UMBRELLA, values)
        after = helm4.documents(tmp_path / "helm" / UMBRELLA, values)
        assert named(after, "Deployment", "stigma-ai-worker") != named(
            before, "Deployment", "stigma-ai-worker"
        )
        fixed = [unchangeable(documents) for documents in (before, after)]
        jobs = [{key for key in each if key.startswith("Job/")} for each in fixed]
        assert len(jobs[0]) == 1
        assert not jobs[0] & jobs[1], "the setup Job of another image needs another name"
        same = fixed[0].keys() & fixed[1].keys()
        assert len(same) >= 8
        assert all(fixed[0][key] == fixed[1][key] for key in same)


@pytest.mark.parametrize("worker", SERVICES)
def test_scaling_one_changes_nothing_else(helm4: Helm, worker):
    off = {"autoscaling": {"enabled": False}}
    base = matrix.merged(matrix.production(), dict.fromkeys(SERVICES, off))
    before = chunks(helm4.template(UMBRELLA, base))
    after = chunks(helm4.template(UMBRELLA, matrix.merged(base, {worker: {"replicas": 7}})))
    assert before.keys() == after.keys()
    [changed] = [key for key in before if before[key] != after[key]]
    assert changed == f"Deployment/{'' if worker.startswith('stigma-') else 'stigma-'}{worker}"
    lines = zip(before[changed].splitlines(), after[changed].splitlines(), strict=True)
    assert [new.strip() for old, new in lines if old != new] == ["replicas: 7"]


def test_links_become_files_in_a_package(helm: Helm, tmp_path):
    done = helm.run("package", CHARTS / UMBRELLA, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("stigma-*.tgz")
    values = matrix.production()
    assert parse(helm.template(package, values)) == parse(helm.template(UMBRELLA, values))


@pytest.mark.parametrize("chart", [*ALL, "stigma-lib"])
def test_lint(helm: Helm, chart):
    done = helm.run("lint", "--strict", CHARTS / chart)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout.replace("[WARNING] Fail: ", "")


def test_install_follows_links(helm4: Helm):
    # Helm 3 asks a cluster even for this.
    sets = "temporal.devServer.enabled=true"
    done = helm4.run("install", "x", CHARTS / UMBRELLA, "--dry-run=client", "--set", sets)
    assert done.returncode == 0, done.stderr
    assert "kind: Deployment" in done.stdout


def test_a_wrong_field_is_noticed(helm4: Helm):
    documents = helm4.documents("ai-worker", matrix.versioned("ai-worker"))
    pod = named(documents, "WorkerDeployment")
    pod["spec"]["template"]["spec"]["hostNetwrk"] = True
    monitor = named(documents, "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["intervall"] = "1s"
    for version in kubernetes_versions():
        assert any("hostNetwrk" in each for each in problems(pod, version))
        assert any("intervall" in each for each in problems(monitor, version))
