"""Settings of the workflow engine."""

from pathlib import Path

from pydantic import Field, SecretStr

from stigma.runtime.settings import Port, ServiceSettings


class EngineSettings(ServiceSettings):
    """Environment variables of `zigflow_worker`."""

    admin_port: Port = Field(
        default=7313, description="Port of /livez, /readyz and /metrics; 0: any free one."
    )
    workflows_dir: Path | None = Field(
        default=None,
        description="Directory of documents (.yaml, .yml, .json), read again when they change.",
    )
    api_address: str = Field(
        default="localhost:7300", description="Stigma's API, which `call: agent` asks."
    )
    api_key: SecretStr = Field(default=SecretStr(""), description="Key for the API.")
    max_cached_workflows: int = Field(
        default=1000, ge=0, description="Running workflows kept in memory; others are replayed."
    )
    max_concurrent_workflow_tasks: int = Field(
        default=100, ge=2, description="Workflow tasks worked on at a time."
    )
    max_concurrent_calls: int = Field(
        default=200, ge=1, description="Calls to the API, and other activities, at a time."
    )
