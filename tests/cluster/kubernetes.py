"""The cluster of KUBECONFIG, in one namespace of this run's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from string import Template
from typing import Any

from stigma_cli.devserver import free_ports
from tests.cluster.program import ProgramError, run, until

Object = dict[str, Any]

MANIFESTS = Path(__file__).with_name("manifests")

READY_WITHIN = timedelta(minutes=5)
_REOPEN_SECONDS = 1.0
# A diary and a gauge: they are about objects, and outlive them for a while.
_NOT_OBJECTS = ("events", "pods.metrics")


class Namespace:
    """One namespace, and what is in it. Names of pods and others are without their kind."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def create(self) -> None:
        """Make it, with the restricted Pod Security Standard enforced."""
        body = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": self.name,
                "labels": {
                    "pod-security.kubernetes.io/enforce": "restricted",
                    "pod-security.kubernetes.io/warn": "restricted",
                },
            },
        }
        await run("kubectl", "create", "--filename=-", given=json.dumps(body))

    async def delete(self) -> None:
        """Delete it with all that is in it, and wait until it is gone."""
        await run(
            "kubectl",
            "delete",
            "namespace",
            self.name,
            "--ignore-not-found",
            within=timedelta(minutes=5),
        )

    async def kubectl(
        self, *arguments: str, given: str = "", within: timedelta = timedelta(minutes=2)
    ) -> str:
        """What kubectl answers here."""
        output, _ = await run(
            "kubectl", f"--namespace={self.name}", *arguments, given=given, within=within
        )
        return output

    async def apply(self, manifest: str, **fields: str) -> None:
        """Apply a file of `manifests`, its ``${fields}`` filled in."""
        text = Template((MANIFESTS / manifest).read_text(encoding="utf-8")).substitute(fields)
        await self.kubectl("apply", "--filename=-", given=text)

    async def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(await self.kubectl("get", kind, name, "--output=json"))
        return found

    async def list(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, or of kinds with commas between."""
        answered = await self.kubectl("get", kind, f"--selector={selector}", "--output=json")
        items: list[Object] = json.loads(answered)["items"]
        return items

    async def objects(self) -> set[str]:
        """Kind and name of everything that is here."""
        kinds = await self.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name")
        listed = ",".join(kind for kind in kinds.split() if not kind.startswith(_NOT_OBJECTS))
        found = await self.list(listed)
        return {f"{one['kind']}/{one['metadata']['name']}" for one in found}

    async def generations(self) -> dict[str, int]:
        """Each Deployment's generation: it changes with its spec."""
        found = await self.list("deployments")
        return {one["metadata"]["name"]: one["metadata"]["generation"] for one in found}

    async def pods(self, deployment: str) -> dict[str, str]:
        """Names and uids of a Deployment's pods that are ready and not being deleted."""
        found = await self.get("deployment", deployment)
        labels = found["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in await self.list("pods", selector)
            if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod)
        }

    async def ready(self, deployment: str, count: int, within: timedelta = READY_WITHIN) -> None:
        """Return once so many pods are ready, no more and no fewer, and no more are wanted."""
        seen: list[int] = []

        async def enough() -> bool:
            found = await self.get("deployment", deployment)
            seen[:] = [found["spec"]["replicas"], len(await self.pods(deployment))]
            return seen == [count, count]

        await until(
            enough,
            within=within,
            what=lambda: f"{count} pods of {deployment}; [wanted, ready] are {seen}",
        )

    async def rolled_out(self, deployment: str) -> None:
        """Return once every pod is one of the newest template."""
        seconds = int(READY_WITHIN.total_seconds())
        await self.kubectl(
            "rollout",
            "status",
            f"deployment/{deployment}",
            f"--timeout={seconds}s",
            within=READY_WITHIN + timedelta(seconds=10),
        )

    async def events(self, pod: str) -> Counter[str]:
        """How often a pod has logged each event."""
        counted = Counter[str]()
        for line in (await self.kubectl("logs", pod)).splitlines():
            with contextlib.suppress(ValueError):
                counted[str(json.loads(line)["event"])] += 1
        return counted

    async def kill(self, pod: str) -> None:
        """Delete it without any grace."""
        await self.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")

    async def evict(self, pod: str) -> bool:
        """Ask for its eviction, as a drain does; False when a disruption budget refuses."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.name},
        }
        path = f"/api/v1/namespaces/{self.name}/pods/{pod}/eviction"
        try:
            await self.kubectl("create", f"--raw={path}", "--filename=-", given=json.dumps(body))
        except ProgramError as error:
            if "disruption budget" in str(error):
                return False
            raise
        return True

    @asynccontextmanager
    async def forwarded(self, service: str, port: int) -> AsyncIterator[str]:
        """This machine's address of a Service; the way to it is opened again when it breaks."""
        [local] = free_ports(1)
        keeper = asyncio.create_task(self._forward(service, f"{local}:{port}"))
        try:
            await until(
                lambda: _answers(local), within=READY_WITHIN, what=f"the way to {service}:{port}"
            )
            yield f"127.0.0.1:{local}"
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _forward(self, service: str, ports: str) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                "kubectl",
                f"--namespace={self.name}",
                "port-forward",
                f"service/{service}",
                ports,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await asyncio.sleep(_REOPEN_SECONDS)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
