"""The service as a process: started, ready, at work, stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from services.stigma_orchestrator.tests.orchestration import DIGEST, Model
from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts import workflows
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput
from stigma_cli.devserver import free_ports
from tests.stack.processes import ServiceProcess


async def test_the_service_runs_agents_until_it_is_stopped(
    temporal_server: Any, client: Client, tmp_path: Path
) -> None:
    queues = TaskQueues(f"{uuid.uuid4().hex[:8]}-")
    (port,) = free_ports(1)
    environment = os.environ | {
        "TEMPORAL_ADDRESS": temporal_server.address,
        "STIGMA_ADMIN_PORT": str(port),
        "STIGMA_TASK_QUEUE_PREFIX": queues.prefix,
        "STIGMA_LOG_FORMAT": "json",
    }
    log = tmp_path / "log"
    service = ServiceProcess("stigma_orchestrator", environment, log, admin_port=port)
    service.start()
    await service.wait_ready()
    model = Model()
    request = AgentWorkflowInput(
        execution_id="agent-1",
        spec=AgentExecutionSpec(agent=AgentSpec(model="local:test"), message="?"),
        spec_digest=DIGEST,
    )
    request.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=60))
    async with Worker(client, task_queue=queues.ai, activities=[model.call_model]):
        execution = await client.execute_workflow(
            workflows.AgentWorkflow.run,
            request,
            id=f"agent-{uuid.uuid4().hex}",
            task_queue=queues.orchestrator,
        )
    assert execution.status.output.text == "42"
    assert await service.stop() == 0
    registered = {
        event["task_queue"]: event["workflows"] + event["activities"]
        for event in map(json.loads, log.read_text().splitlines())
        if event["event"] == "registered"
    }
    assert registered == {
        queues.orchestrator: [
            "AgentWorkflow",
            "CheckModelPriceWorkflow",
            "ListMcpToolsWorkflow",
            "SessionWorkflow",
            "WorkflowExecutionWorkflow",
            "deliver_callback",
            "deliver_workflow_callback",
        ],
        queues.watch: ["watch_caller", "watch_turn"],
    }


def test_help_lists_the_settings() -> None:
    command = [sys.executable, "-m", "stigma_orchestrator", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "STIGMA_MAX_CONCURRENT_DELIVERIES" in shown.stdout
