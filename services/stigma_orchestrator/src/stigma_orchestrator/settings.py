"""Settings of the orchestrator."""

from __future__ import annotations

from pydantic import Field

from stigma.runtime.settings import ServiceSettings


class OrchestratorSettings(ServiceSettings):
    """Environment variables of `stigma_orchestrator`."""

    admin_port: int = Field(
        default=7311,
        ge=0,
        le=65535,
        description="Port of /livez, /readyz and /metrics; 0: any free one",
    )
    max_cached_workflows: int = Field(
        default=1000, ge=0, description="Running executions kept in memory; the others are replayed"
    )
    max_concurrent_workflow_tasks: int = Field(
        default=100, ge=2, description="Workflow tasks worked on at a time"
    )
    max_concurrent_deliveries: int = Field(
        default=100, ge=1, description="Deliveries to waiting activities at a time"
    )
    max_concurrent_caller_checks: int = Field(
        default=20, ge=1, description="Checks of waiting callers at a time"
    )
    max_kept_watches: int = Field(
        default=20_000, ge=1, description="Waiting callers that this process watches by itself"
    )
