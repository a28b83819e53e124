"""One installation's life on a real cluster, in order: each test goes on from the one before.

`make test-cluster` runs them against the cluster of KUBECONFIG, in a namespace of their own.
STIGMA_CLUSTER_LOAD is a program that brings images of the local Docker engine onto the nodes; they
are its arguments. Without it the cluster pulls them. STIGMA_CLUSTER_VALUES is a file of more values
for every install. STIGMA_CLUSTER_RATE is how many handshakes a second a steady load starts (3).

The cluster needs a default StorageClass and room for one CPU of requests. Scaling needs its metrics
API, and KEDA for the workers; what is not there is skipped. Not shown: that a NetworkPolicy is
enforced, which is the network plugin's, and, on a single node, that pods are spread.
"""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cluster.handshakes import Crowd
from tests.cluster.kubernetes import Namespace
from tests.cluster.program import ProgramError, run, until
from tests.cluster.release import SERVICES, WORKERS, Release, Values, pod_uids, service_name
from tests.cluster.scaling import (
    SCALED_WITHIN,
    Record,
    busy_api,
    goes_up_and_down,
    parts,
    shared,
    soon_scaled_down,
)
from tests.reliability import caller_service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

LOAD = os.environ.get("STIGMA_CLUSTER_LOAD", "")
RATE = float(os.environ.get("STIGMA_CLUSTER_RATE", "3"))
LOADED_WITHIN = timedelta(minutes=15)
ROOT = Path(__file__).parents[2]
CALLER = "caller"
POSTGRESQL = "postgresql"
# What the tests themselves put into the namespace.
OURS = (CALLER, POSTGRESQL)
# How many call at a time, and the seconds of each call's model.
CALLERS_OF_MODEL = (30, 2.0)
ON_POSTGRESQL: Values = {
    "stigma-api": {
        "registry": {"type": "postgresql", "postgresql": {"urlSecret": {"name": POSTGRESQL}}}
    }
}
TWO_OF_EACH: Values = {service: {"replicas": 2} for service in SERVICES}
BY_CPU: Values = {
    "stigma-api": {
        "autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 3, "targetCPU": 70}
    }
}
BY_BACKLOG: Values = {
    "ai-worker": {
        "limits": {"maxConcurrentActivities": 2},
        "autoscaling": {
            "enabled": True,
            "minReplicas": 1,
            "maxReplicas": 3,
            "targetQueueSize": 3,
            "pollingInterval": 5,
            "stabilizationSeconds": 15,
        },
    }
}


@pytest.fixture(scope="module")
def postgres_image() -> str:
    """Without a loader the cluster pulls it."""
    if not LOAD:
        return os.environ.get("POSTGRES_IMAGE", "postgres:17")
    made = subprocess.run(
        [ROOT / "tools" / "postgres-image"], stdout=subprocess.PIPE, text=True, check=True
    )
    return made.stdout.strip()


async def test_images_are_loaded(
    release: Release, postgres_image: str, record_property: Record
) -> None:
    images = sorted({*(await release.images()), postgres_image})
    if LOAD:
        await run(*shlex.split(LOAD), *images, within=LOADED_WITHIN)
    record_property("images", len(images) if LOAD else "pulled by the cluster")


async def test_installs_where_pods_are_restricted(
    release: Release, namespace: Namespace, record_property: Record
) -> None:
    release.found = await namespace.objects()
    complaints = await release.install()
    assert "PodSecurity" not in complaints
    for service in SERVICES:
        await namespace.ready(service_name(service), 1)
    release.installed = True
    record_property("pods", len(await namespace.list("pods")))


async def test_helm_test_passes(installed: Release, record_property: Record) -> None:
    logs = await installed.test()
    assert "The handshake works." in logs
    record_property("pods ready", logs.count(" is ready"))


async def test_a_caller_in_a_pod_shakes_hands(
    installed: Release, namespace: Namespace, crowd: Crowd, record_property: Record
) -> None:
    engine = await namespace.get("deployment", service_name("zigflow-worker"))
    [container] = engine["spec"]["template"]["spec"]["containers"]
    code = Path(caller_service.__file__)
    await namespace.kubectl("create", "configmap", CALLER, f"--from-file={code}")
    await namespace.apply("caller.yaml", image=container["image"])
    await namespace.rolled_out(CALLER)
    began = time.monotonic()
    await (await crowd.worker(delay=0)).check()
    record_property("first", f"{time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("worker", WORKERS)
async def test_is_scaled_alone(
    worker: str, installed: Release, namespace: Namespace, crowd: Crowd, record_property: Record
) -> None:
    name = service_name(worker)
    before = await state(namespace)
    await installed.upgrade({worker: {"replicas": 2}})
    await namespace.ready(name, 2)
    after = await state(namespace)
    assert len(after[name][1]) == 2
    assert set(before[name][1]) < set(after[name][1]), "the pod that was there stays"
    del before[name], after[name]
    assert after == before, "something else was changed too"
    earlier = await parts(namespace, worker)
    async with crowd.busily(6) as tally:
        shares = await shared(namespace, worker, 2, earlier)
    report(record_property, await tally.check())
    record_property("shares", " ".join(map(str, shares)))
    await installed.upgrade()
    await namespace.ready(name, 1)


async def test_the_api_scales_by_cpu(
    installed: Release,
    namespace: Namespace,
    crowd: Crowd,
    postgres_image: str,
    record_property: Record,
) -> None:
    await namespace.apply("postgresql.yaml", image=postgres_image, password=secrets.token_hex(12))
    await namespace.rolled_out(POSTGRESQL)
    await installed.upgrade(ON_POSTGRESQL)
    if not await exists("apiservice", "v1beta1.metrics.k8s.io"):
        pytest.skip("the cluster has no metrics API: install metrics-server")
    await installed.upgrade(merged(ON_POSTGRESQL, BY_CPU))
    await soon_scaled_down(namespace)
    load = busy_api(namespace, crowd)
    tally = await goes_up_and_down(namespace, "stigma-api", load, record_property)
    report(record_property, await tally.check())


async def test_a_worker_scales_by_its_backlog(
    installed: Release, namespace: Namespace, crowd: Crowd, record_property: Record
) -> None:
    if not await exists("customresourcedefinition", "scaledobjects.keda.sh"):
        pytest.skip("the cluster has no KEDA")
    await installed.upgrade(ON_POSTGRESQL, BY_BACKLOG)
    load = crowd.busily(*CALLERS_OF_MODEL)
    tally = await goes_up_and_down(namespace, "ai-worker", load, record_property)
    report(record_property, await tally.check())


async def test_a_drain_respects_the_disruption_budget(
    installed: Release, namespace: Namespace, crowd: Crowd, record_property: Record
) -> None:
    await installed.upgrade(merged(ON_POSTGRESQL, TWO_OF_EACH))
    refused = 0
    async with crowd.steadily(RATE) as tally:
        for service in SERVICES:
            name = service_name(service)
            await namespace.ready(name, 2)
            await until(
                lambda name=name: may_be_disrupted(namespace, name),  # type: ignore[misc]
                within=SCALED_WITHIN,
                what=f"a disruption budget that lets one pod of {name} go",
            )
            first, second = await namespace.pods(name)
            assert await namespace.evict(first)
            assert not await namespace.evict(second), "both pods at once"
            refused += 1
            await until(
                lambda second=second: namespace.evict(second),  # type: ignore[misc]
                within=SCALED_WITHIN,
                what=f"the eviction of {second} once another pod is ready",
            )
            await namespace.ready(name, 2)
    record_property("evicted", 2 * len(SERVICES))
    record_property("refused at first", refused)
    report(record_property, await tally.check())


async def test_nothing_is_lost_when_pods_are_killed(
    installed: Release, namespace: Namespace, crowd: Crowd, record_property: Record
) -> None:
    killed = 0
    async with crowd.steadily(RATE) as tally:
        for service in SERVICES:
            name = service_name(service)
            for pod in await namespace.pods(name):
                await namespace.kill(pod)
                killed += 1
            await namespace.ready(name, 2)
    record_property("killed", killed)
    report(record_property, await tally.check())


async def test_nothing_is_lost_by_an_upgrade_and_back(
    installed: Release, namespace: Namespace, crowd: Crowd, record_property: Record
) -> None:
    known = await installed.revision()
    changed: Values = {"global": {"stigma": {"log": {"level": "DEBUG"}}}}
    async with crowd.steadily(RATE) as tally:
        for change in (
            lambda: installed.upgrade(merged(ON_POSTGRESQL, TWO_OF_EACH), changed),
            lambda: installed.rollback(known),
        ):
            before = await pod_uids(namespace)
            await change()
            for service in SERVICES:
                await namespace.rolled_out(service_name(service))
                await namespace.ready(service_name(service), 2)
            assert not before & await pod_uids(namespace), "pods that were not replaced"
    report(record_property, await tally.check())


async def test_every_call_was_one_execution(
    installed: Release, crowd: Crowd, record_property: Record
) -> None:
    await crowd.check_executions()
    record_property("calls", crowd.started)


async def test_uninstalling_leaves_nothing(
    installed: Release, namespace: Namespace, record_property: Record
) -> None:
    await installed.upgrade()  # to SQLite, with its volume
    await namespace.kubectl(
        "delete", "deployment,service,secret,configmap", *OURS, "--ignore-not-found"
    )
    objects = await namespace.objects() - installed.found
    assert "PersistentVolumeClaim/stigma-api" in objects
    installed.installed = False
    await installed.uninstall()
    await nothing_left(installed, namespace)
    record_property("objects", f"{len(objects)} before, 0 after")


async def test_uninstalling_keeps_a_volume_that_is_to_be_kept(
    release: Release, namespace: Namespace
) -> None:
    await release.install_alone(
        "kept",
        "stigma-api",
        {
            "replicas": 0,
            "setup": {"enabled": False},
            "temporal": {"address": "nowhere.invalid:7233"},
            "registry": {"sqlite": {"keep": True}},
        },
    )
    await release.uninstall("kept")
    claim = "kept-stigma-api"
    await nothing_left(release, namespace, f"PersistentVolumeClaim/{claim}")
    await namespace.kubectl("delete", "persistentvolumeclaim", claim)


def report(record_property: Record, figures: dict[str, str]) -> None:
    for what, figure in figures.items():
        record_property(what, figure)


def merged(first: Values, second: Values) -> Values:
    """Both, the second one's services with the first one's."""
    return {
        service: {**first.get(service, {}), **second.get(service, {})}
        for service in (*first, *second)
    }


async def exists(kind: str, name: str) -> bool:
    try:
        await run("kubectl", "get", kind, name)
    except ProgramError:
        return False
    return True


async def state(namespace: Namespace) -> dict[str, tuple[int, dict[str, str]]]:
    """Each Deployment's generation and pods."""
    generations = await namespace.generations()
    return {name: (number, await namespace.pods(name)) for name, number in generations.items()}


async def may_be_disrupted(namespace: Namespace, name: str) -> bool:
    budget = await namespace.get("poddisruptionbudget", name)
    return bool(budget["status"].get("disruptionsAllowed"))


async def nothing_left(release: Release, namespace: Namespace, *but: str) -> None:
    """Return once the namespace has what it had before the release, and what is named."""
    left: set[str] = set()

    async def gone() -> bool:
        left.clear()
        left.update(await namespace.objects() - release.found)
        return left == set(but)

    await until(gone, within=timedelta(minutes=3), what=lambda: f"{sorted(left)} are left")
