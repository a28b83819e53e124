"""A workflow that calls a Stigma workflow. In a module of its own, which the sandbox can import."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow

from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
from stigma_client import WorkflowExecutionError, run_workflow


@dataclass
class Order:
    """What a caller asks for."""

    name: str = "shipping@2"
    document_bytes: int = 0
    input_bytes: int = 0
    timeout: float = 60.0
    request_id: str | None = None
    within: float = 0.0
    swallow: bool = False


@workflow.defn
class WorkflowCaller:
    """Runs one Stigma workflow and returns what came of it."""

    @workflow.run
    async def run(self, order: Order) -> dict[str, Any]:
        config = WorkflowConfig()
        config.timeout.FromTimedelta(timedelta(hours=1))
        spec = WorkflowSpec(document="d" * order.document_bytes) if order.document_bytes else None
        try:
            async with asyncio.timeout(order.within or None):
                result = await run_workflow(
                    order.name,
                    input={"order": 2**63, "pad": "x" * order.input_bytes},
                    spec=spec,
                    config=config,
                    session_id="session",
                    labels={"team": "shop"},
                    timeout=timedelta(seconds=order.timeout),
                    heartbeat_timeout=timedelta(seconds=30),
                    request_id=order.request_id,
                )
        except WorkflowExecutionError as error:
            if not order.swallow:
                raise
            return {
                "class": type(error).__name__,
                "reason": error.reason,
                "step": error.step,
                "id": error.execution_id,
            }
        except TimeoutError:
            return {"class": "TimeoutError"}
        return {"id": result.execution_id, "output": result.output}
