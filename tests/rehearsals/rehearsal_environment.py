"""Where it is rehearsed: everything with its usual names, callers, and a model under control."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from stigma_cli.devserver import DevServer
from tests.docs.commands import Command
from tests.docs.documented_site import DocumentedSite, DocumentedStack
from tests.docs.pages import ROOT, read_page
from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import Called
from tests.integration.installation import KEY, Installation, environment
from tests.integration.model_gate import ModelGate
from tests.rehearsals.damaging_proxy import DamagingProxy
from tests.rehearsals.operator import Operator
from tests.rehearsals.table import RehearsalTable
from tests.stack.faults import FaultProxy
from tests.stack.service import Service

# Longer than the rehearsals last.
LONG_SECONDS = 3600.0

# What the alerts are about is seen soon.
_IN_A_HURRY = {"STIGMA_CLUSTER_METRICS_INTERVAL": "1"}

# `stigma doctor` leaves out what is younger than a minute, which is for operators, not for tests.
_IMPATIENT = """\
stigma() {
    if [ "$1" = doctor ]; then set -- "$@" --min-age 1s; fi
    command stigma "$@"
}
"""


class RehearsalEnvironment:
    """A running installation, and what its faults are made with.

    The engine reaches the API through ``proxy``, and the API and the orchestrator reach Temporal
    through ``temporal_of``; ``key_file`` holds the key of the provider `renewed`, which is the gate
    once more.
    """

    def __init__(
        self,
        installation: Installation,
        site: DocumentedSite,
        proxy: DamagingProxy,
        *,
        temporal_of: Mapping[str, FaultProxy],
        key_file: Path,
        table: RehearsalTable,
    ) -> None:
        self.installation = installation
        self.stack = installation.stack
        self.gate = installation.gate
        self.proxy = proxy
        self.temporal_of = temporal_of
        self.key_file = key_file
        self._site = site
        self._table = table

    @asynccontextmanager
    async def operator(self, page: str, fault: str) -> AsyncIterator[Operator]:
        """Have somebody follow a page of docs/ after this fault was made."""
        path = ROOT / "docs" / page
        async with self._site.session(f"{path.stem}-{uuid.uuid4().hex[:6]}") as session:
            await session.run(Command(f"export STIGMA_API_KEY={KEY}"))
            await session.run(Command(_IMPATIENT))
            yield Operator(read_page(path), session, self._table.add(page, fault))

    async def call_held(
        self, message: str, *, heartbeat_timeout: float = 0.0, agent_timeout: float = 0.0
    ) -> Called:
        """Have an agent called whose model answers when it is told to."""
        job = Job(
            "held",
            message,
            timeout=LONG_SECONDS,
            heartbeat_timeout=heartbeat_timeout,
            agent_timeout=agent_timeout,
        )
        called = await self.installation.call(PythonCaller, job)
        await self.gate.held(message)
        return called

    @asynccontextmanager
    async def without(self, service: str) -> AsyncIterator[None]:
        """Stop a service; it is started at the end, unless it was before."""
        await self.stack.stop(service)
        try:
            yield
        finally:
            await self.stack.start(service)

    @asynccontextmanager
    async def killed(self, service: str) -> AsyncIterator[None]:
        """Kill a service; it is started at the end."""
        await self.stack.kill(service)
        try:
            yield
        finally:
            await self.stack.start(service)

    @asynccontextmanager
    async def misconfigured(self, service: str, **variables: str) -> AsyncIterator[Service]:
        """Start a service again with other variables; with its own ones at the end."""
        process = self.stack.process(service)
        own = process.environment
        await self.stack.stop(service)
        process.environment = own | variables
        process.start()
        try:
            yield process
        finally:
            process.environment = own
            await self.stack.restart(service)


@asynccontextmanager
async def open_environment(
    temporal: Path, directory: Path, table: RehearsalTable
) -> AsyncIterator[RehearsalEnvironment]:
    """Start everything."""
    key_file = directory / "provider.key"
    key_file.write_text("sk-of-last-year-4712")
    async with DevServer(temporal) as server, ModelGate() as gate:
        variables = {service: dict(own) for service, own in environment(gate, directory).items()}
        stack = DocumentedStack(
            server.address, directory, namespace=server.namespace, environment=variables
        )
        async with (
            DamagingProxy(stack.api_address) as proxy,
            FaultProxy(server.address) as of_api,
            FaultProxy(server.address) as of_orchestrator,
        ):
            variables["stigma_api"] |= _IN_A_HURRY | {"TEMPORAL_ADDRESS": of_api.address}
            variables["stigma_orchestrator"] = {"TEMPORAL_ADDRESS": of_orchestrator.address}
            variables["ai_worker"]["STIGMA_SHUTDOWN_GRACE"] = "1"
            variables["zigflow_worker"]["STIGMA_API_ADDRESS"] = proxy.address
            _add_provider(gate, key_file, variables["ai_worker"])
            async with stack, Installation(stack, gate, directory) as installation:
                site = DocumentedSite(stack, directory / "pages", temporal)
                temporal_of = {"stigma_api": of_api, "stigma_orchestrator": of_orchestrator}
                yield RehearsalEnvironment(
                    installation,
                    site,
                    proxy,
                    temporal_of=temporal_of,
                    key_file=key_file,
                    table=table,
                )


def _add_provider(gate: ModelGate, key_file: Path, variables: Mapping[str, str]) -> None:
    """Add the gate under another name, with a key that is read from a file at start."""
    renewed = gate.provider.replace("{name: gate}", "{name: renewed}")
    renewed = renewed.replace("{env: GATE_KEY}", f"{{file: {key_file}}}")
    with Path(variables["STIGMA_PROVIDERS_FILE"]).open("a", encoding="utf-8") as providers:
        providers.write(f"---\n{renewed}")
