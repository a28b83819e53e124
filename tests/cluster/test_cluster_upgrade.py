"""From the last release to today's charts and images on a real cluster, and back, under load.

Runs as test_cluster.py does, which says what it needs. Temporal stays as it is: its upgrades are
not this project's.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.cluster.program import run
from tests.cluster.release import SERVICES, Release, Values, pod_uids, service_name
from tests.cluster.scaling import Record
from tests.upgrades.past_release import Tree, check_out, releases

if TYPE_CHECKING:
    from tests.cluster.handshakes import Crowd
    from tests.cluster.kubernetes import Namespace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]

LOAD = os.environ.get("STIGMA_CLUSTER_LOAD", "")
RATE = float(os.environ.get("STIGMA_CLUSTER_RATE", "3"))
LOADED_WITHIN = timedelta(minutes=15)
BUILT_WITHIN_SECONDS = 900
CALLER = "caller"
LAST = [one for one in releases() if one.name != version("stigma-core")][-1]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The last release's tree; a loader needs its images, which are built of it."""
    tree = check_out(LAST, tmp_path_factory.mktemp("release"))
    if LOAD:
        command = [str(tree.directory / "tools" / "images"), *SERVICES]
        subprocess.run(command, check=True, timeout=BUILT_WITHIN_SECONDS)
    return tree


def values() -> Values:
    """Return the values of both releases: today's Temporal, whose data outlives its pod."""
    from tests.charts.helm import CHARTS, parse

    [ours] = parse((CHARTS / "stigma" / "values.yaml").read_text())
    tag = ours["temporal"]["devServer"]["image"]["tag"]
    server: Values = {"image": {"tag": tag}, "persistence": {"enabled": True}}
    return {
        "temporal": {"devServer": server},
        **{service: {"replicas": 2} for service in SERVICES if service != "stigma-api"},
    }


@pytest.fixture(scope="module")
async def last_release(
    past: Tree, release: Release, namespace: Namespace
) -> AsyncIterator[Release]:
    """The last release, installed."""
    from tests.charts.helm import Helm

    last = Release(Helm(4), namespace, past.directory / "deploy" / "helm")
    if LOAD:
        images = await last.images(values()) | await release.images(values())
        await run(*shlex.split(LOAD), *sorted(images), within=LOADED_WITHIN)
    await last.install(values())
    yield last
    await last.uninstall()


@pytest.fixture(scope="module")
async def callers(last_release: Release, past: Tree, namespace: Namespace) -> AsyncIterator[Crowd]:
    """Callers whose worker is the last release's all the time."""
    from temporalio.client import Client

    from stigma.contracts.payloads import DATA_CONVERTER
    from tests.cluster.handshakes import Crowd

    engine = await namespace.get("deployment", service_name("zigflow-worker"))
    [container] = engine["spec"]["template"]["spec"]["containers"]
    code = past.directory / "tests" / "reliability" / "caller_service.py"
    await namespace.kubectl("create", "configmap", CALLER, f"--from-file={code}")
    await namespace.apply("caller.yaml", image=container["image"])
    await namespace.rolled_out(CALLER)
    async with namespace.forwarded("stigma-temporal", 7233) as address:
        client = await Client.connect(address, data_converter=DATA_CONVERTER)
        crowd = Crowd(client)
        await (await crowd.worker(delay=0)).check()
        yield crowd
    await namespace.kubectl("delete", "deployment,configmap", CALLER)


async def test_nothing_is_lost_from_the_last_release_and_back(
    last_release: Release,
    release: Release,
    callers: Crowd,
    namespace: Namespace,
    record_property: Record,
) -> None:
    known = await last_release.revision()
    record_property("from", LAST.name)
    async with callers.steadily(RATE) as tally:
        for name, change in {
            "there": lambda: release.upgrade(values()),
            "back": lambda: last_release.rollback(known),
        }.items():
            before, began = await pod_uids(namespace), time.monotonic()
            await change()
            for service in SERVICES:
                await namespace.rolled_out(service_name(service))
            assert not before & await pod_uids(namespace), "pods that were not replaced"
            record_property(name, f"{time.monotonic() - began:.0f} s")
            await (await callers.engine()).check()
            await (await callers.worker()).check()
    for what, figure in (await tally.check()).items():
        record_property(what, figure)
    await callers.check_executions()
