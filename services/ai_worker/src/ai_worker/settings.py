"""Settings of the AI worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field
from typing_extensions import override

from stigma.runtime.named_files import unreadable_file
from stigma.runtime.settings import ServiceSettings


class Settings(ServiceSettings):
    """Environment variables of the AI worker, with prefix STIGMA_."""

    admin_port: int = Field(
        default=7312, ge=0, le=65535, description="Port of /livez, /readyz and /metrics; 0: any."
    )
    providers_file: Path | None = Field(
        default=None,
        description="YAML file of Provider and McpServer resources. Unset: `openai` and "
        "`anthropic` exist when OPENAI_API_KEY and ANTHROPIC_API_KEY are set.",
    )
    max_concurrent_activities: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Calls of models and of MCP servers' tools in flight in this process; also the "
        "connections that a provider gets.",
    )
    max_cached_conversation_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=0,
        description="Conversations of agents with tools kept in memory, in bytes; others are read "
        "from Temporal again.",
    )

    @override
    def file_problems(self) -> Iterator[str]:
        yield from unreadable_file("STIGMA_PROVIDERS_FILE", self.providers_file)
