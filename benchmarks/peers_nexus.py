"""Temporal's Nexus: a workflow that awaits an operation, which is a workflow of another worker.

Usage: python -m benchmarks.peers_nexus caller|worker TEMPORAL_ADDRESS TASK_QUEUE. Runs until
SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta

import nexusrpc
import nexusrpc.handler
from temporalio import nexus, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.handshake_native import Child, answer

ENDPOINT = "benchmark-peer"

_TIMEOUT = timedelta(minutes=10)


@nexusrpc.service
class Agents:
    """The operations of the worker."""

    ask: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Agents)
class AgentsHandler:
    """Starts the child workflow of `benchmarks.handshake_native`, which calls an activity."""

    @nexus.workflow_run_operation
    async def ask(
        self, ctx: nexus.WorkflowRunOperationContext, message: str
    ) -> nexus.WorkflowHandle[str]:
        """Start an operation that ends with the workflow."""
        return await ctx.start_workflow(Child.run, message, id=f"{message}-operation")


@workflow.defn
class NexusCaller:
    """A workflow that calls an operation of another worker."""

    @workflow.run
    async def run(self, message: str) -> str:
        client = workflow.create_nexus_client(service=Agents, endpoint=ENDPOINT)
        return await client.execute_operation(
            Agents.ask, message, schedule_to_close_timeout=_TIMEOUT
        )


async def main(role: str, temporal: str, task_queue: str) -> None:
    """Work until told to stop."""
    client = await Client.connect(temporal)
    if role == "caller":
        worker = Worker(client, task_queue=task_queue, workflows=[NexusCaller])
    else:
        worker = Worker(
            client,
            task_queue=f"{task_queue}-nexus",
            workflows=[Child],
            activities=[answer],
            nexus_service_handlers=[AgentsHandler()],
        )
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with worker:
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
