"""What the cluster's tests stand on. They run only when asked for, with `-m cluster`.

Imports of what takes long are in the fixtures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING

import pytest

from tests.cluster.report import table

if TYPE_CHECKING:
    from tests.cluster.handshakes import Crowd
    from tests.cluster.kubernetes import Namespace
    from tests.cluster.release import Release

_MARK = "cluster"
_TOLD_CHARACTERS = 6000
_NAMESPACE: pytest.StashKey[str] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{_MARK}: on the cluster of KUBECONFIG; make test-cluster")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _MARK in config.option.markexpr:
        return
    config.hook.pytest_deselected(items=[one for one in items if one.get_closest_marker(_MARK)])
    items[:] = [one for one in items if not one.get_closest_marker(_MARK)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, object]:
    report = yield
    if report.failed and _NAMESPACE in item.config.stash:
        report.sections += [
            (what, _told(f"--namespace={item.config.stash[_NAMESPACE]}", *command))
            for what, command in {
                "pods": ("get", "pods", "--output=wide"),
                "events": ("get", "events", "--sort-by=.lastTimestamp"),
            }.items()
        ]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := table(terminalreporter.stats):
        terminalreporter.section("on the cluster")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
async def namespace(request: pytest.FixtureRequest) -> AsyncIterator[Namespace]:
    """A namespace of this run; it is deleted with all that is in it."""
    from tests.cluster.kubernetes import Namespace

    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set: there is no cluster to test on")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH")
    namespace = Namespace(f"stigma-test-{uuid.uuid4().hex[:6]}")
    await namespace.create()
    request.config.stash[_NAMESPACE] = namespace.name
    try:
        yield namespace
    finally:
        await namespace.delete()


@pytest.fixture(scope="session")
def release(namespace: Namespace) -> Release:
    """The release `stigma`, which one of the first tests installs."""
    from tests.charts.helm import TOOLS, Helm
    from tests.cluster.release import Release

    helm = Helm(4)
    if not helm.program.exists():
        pytest.skip(f"Helm 4 is not in {TOOLS}: run tools/charts/ensure")
    return Release(helm, namespace)


@pytest.fixture
def installed(release: Release) -> Release:
    """The release, for tests that need it installed."""
    if not release.installed:
        pytest.fail("the release is not installed", pytrace=False)
    return release


@pytest.fixture(scope="session")
async def crowd(release: Release, namespace: Namespace) -> AsyncIterator[Crowd]:
    """Callers, who find Temporal through a port of this machine."""
    from temporalio.client import Client

    from stigma.contracts.payloads import DATA_CONVERTER
    from tests.cluster.handshakes import Crowd

    if not release.installed:
        pytest.fail("the release is not installed", pytrace=False)
    async with namespace.forwarded("stigma-temporal", 7233) as address:
        client = await Client.connect(address, data_converter=DATA_CONVERTER)
        yield Crowd(client)


def _told(*command: str) -> str:
    done = subprocess.run(
        ["kubectl", *command], capture_output=True, text=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr)[-_TOLD_CHARACTERS:]
