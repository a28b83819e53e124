"""The umbrella chart, installed in a namespace: a Helm release and its values."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.charts.helm import CHARTS, Helm, parse, pod_specs
from tests.cluster.kubernetes import Namespace
from tests.cluster.program import run

Values = dict[str, Any]

NAME = "stigma"
WORKERS = ("stigma-orchestrator", "ai-worker", "zigflow-worker")
SERVICES = ("stigma-api", *WORKERS)

WITHIN = timedelta(minutes=8)
# And one more file of values, for clusters that pull: a registry, pull secrets, a storage class.
_FILES = (str(Path(__file__).with_name("values.yaml")), os.environ.get("STIGMA_CLUSTER_VALUES", ""))
_BASE = [f"--values={file}" for file in _FILES if file]


def service_name(service: str) -> str:
    """Of a service's objects, by its chart's."""
    return service if service.startswith("stigma") else f"stigma-{service}"


async def pod_uids(namespace: Namespace) -> set[str]:
    """Return the uids of all pods of the services."""
    found = [(await namespace.pods(service_name(service))).values() for service in SERVICES]
    return set(itertools.chain.from_iterable(found))


class Release:
    """A release in a namespace. Changes are to the values of values.yaml, not to earlier ones.

    Args:
        charts: the directory with the charts that it is installed and upgraded from.
    """

    def __init__(self, helm: Helm, namespace: Namespace, charts: Path = CHARTS) -> None:
        self._helm = helm
        self._namespace = namespace
        self._charts = charts
        self.installed = False
        # What was in the namespace before it.
        self.found: set[str] = set()

    async def images(self, *changes: Values) -> set[str]:
        """Those of all its pods, with these values."""
        with _written(changes) as files:
            output, _ = await self._run(
                "template", NAME, str(self._charts / "stigma"), *_BASE, *files
            )
        return {
            container["image"]
            for spec in pod_specs(parse(output)).values()
            for container in spec["containers"]
        }

    async def install(self, *changes: Values) -> str:
        """Install it and wait until it is ready; returns what Helm complains about."""
        return await self._change("install", *changes)

    async def upgrade(self, *changes: Values) -> str:
        """Give it these values, later ones over earlier ones, and wait until it is ready."""
        return await self._change("upgrade", *changes)

    async def rollback(self, revision: int) -> None:
        await self._run("rollback", NAME, str(revision), *_waiting(), within=WITHIN)

    async def revision(self) -> int:
        """The newest one."""
        output, _ = await self._run("history", NAME, "--max=1", "--output=json")
        return int(json.loads(output)[-1]["revision"])

    async def test(self) -> str:
        """`helm test`; returns the logs of its pods."""
        output, _ = await self._run("test", NAME, "--logs", "--timeout=5m", within=WITHIN)
        return output

    async def uninstall(self, name: str = NAME) -> None:
        await self._run("uninstall", name, *_waiting(), within=WITHIN)

    async def install_alone(self, name: str, chart: str, values: Values) -> None:
        """Install one of the charts as a release of its own, without waiting for it."""
        with _written([values]) as files:
            await self._run("install", name, str(self._charts / chart), *files)

    async def _change(self, command: str, *changes: Values) -> str:
        with _written(changes) as files:
            _, complaints = await self._run(
                command,
                NAME,
                str(self._charts / "stigma"),
                *_BASE,
                *files,
                *_waiting(),
                within=WITHIN,
            )
        return complaints

    async def _run(
        self, *arguments: str, within: timedelta = timedelta(minutes=2)
    ) -> tuple[str, str]:
        namespace = f"--namespace={self._namespace.name}"
        return await run(self._helm.program, namespace, *arguments, within=within)


@contextmanager
def _written(values: Iterable[Values]) -> Iterator[list[str]]:
    """Options of Helm for these values, each in a file."""
    with tempfile.TemporaryDirectory() as directory:
        options = []
        for number, one in enumerate(values):
            path = Path(directory) / f"{number}.json"
            path.write_text(json.dumps(one), encoding="utf-8")
            options.append(f"--values={path}")
        yield options


def _waiting() -> tuple[str, str]:
    return "--wait", f"--timeout={int(WITHIN.total_seconds())}s"
