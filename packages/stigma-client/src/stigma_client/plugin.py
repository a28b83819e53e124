"""The plugin that makes a worker able to call agents and workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from stigma_client.activities import AgentActivities, WorkflowActivities
from stigma_client.connection import DEFAULT_ADDRESS, ApiConnection, TlsFiles


class StigmaPlugin(SimplePlugin):
    """Adds the activities behind `run_agent` and `run_workflow` to a worker.

    Closes their connection with the worker.

    Give it to a client (all of its workers then have it) or to a worker:
    `Worker(client, task_queue=…, workflows=[…], plugins=[StigmaPlugin()])`.

    Args:
        address: "host:port" of Stigma's API.
        api_key: sent as a bearer token.
        tls: files of a TLS connection; None for a connection in clear.
        allow_insecure: send the key in clear also to another machine.
        connection: one made before, instead of all of these; the plugin closes it.

    Raises:
        ValueError: the key would be sent in clear over a network.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        api_key: str | None = None,
        tls: TlsFiles | None = None,
        allow_insecure: bool = False,
        connection: ApiConnection | None = None,
    ) -> None:
        self._connection = connection or ApiConnection(
            address, api_key=api_key, tls=tls, allow_insecure=allow_insecure
        )
        self._workers = 0
        agents = AgentActivities(self._connection)
        workflows = WorkflowActivities(self._connection)
        self._activities: tuple[Callable[..., Any], ...] = (
            agents.call_agent,
            agents.cancel_agent,
            workflows.call_workflow,
            workflows.cancel_workflow,
        )
        super().__init__(
            "stigma.client",
            activities=self._add_activities,
            workflow_runner=_with_passthrough,
            run_context=self._connected,
        )

    @classmethod
    def from_environment(cls) -> StigmaPlugin:
        """Configure the plugin from STIGMA_API_* variables (see this package's README).

        Raises:
            ValueError: a variable is malformed, or the key would be sent in clear over a network.
        """
        return cls(connection=ApiConnection.from_environment())

    def _add_activities(
        self, registered: Sequence[Callable[..., Any]] | None
    ) -> Sequence[Callable[..., Any]]:
        # A worker inherits its client's plugins: the same plugin given twice must not register
        # its activities twice.
        others = list(registered or ())
        return others + [each for each in self._activities if each not in others]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        self._workers += 1
        try:
            yield
        finally:
            self._workers -= 1
            if not self._workers:
                await self._connection.close()


def _with_passthrough(runner: WorkflowRunner | None) -> WorkflowRunner:
    """Import Stigma once a process, not once a workflow: it holds no state a sandbox protects."""
    if runner is None:
        runner = SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    restrictions = runner.restrictions.with_passthrough_modules("stigma", "stigma_client")
    return replace(runner, restrictions=restrictions)
