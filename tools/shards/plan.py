"""Which tests run in one process together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shard:
    """Folders whose tests share a process, a Temporal server and ports.

    ``measured``: whether coverage is, which takes services and tests twice the CPU.
    """

    name: str
    folders: tuple[str, ...]
    measured: bool = False


# The longest first: whichever is last must not be long.
SHARDS = (
    Shard("containers", ("tests/images", "tests/containers")),
    Shard("reliability", ("tests/reliability",)),
    Shard("integration", ("tests/integration",)),
    Shard("engine", ("services/zigflow_worker",), measured=True),
    Shard("orchestrator", ("services/stigma_orchestrator",), measured=True),
    Shard("packages", ("packages",), measured=True),
    Shard("ai-worker", ("services/ai_worker",), measured=True),
    Shard("api", ("services/stigma_api",), measured=True),
    Shard("upgrades", ("tests/upgrades",)),
    Shard("rehearsals", ("tests/rehearsals",)),
    Shard("observability", ("tests/observability",)),
    Shard("callers", ("tests/callers", "tests/mcp_servers")),
    Shard("docs", ("tests/docs",)),
    Shard("charts", ("tests/charts", "tests/cluster")),
    Shard("stack", ("tests/stack", "tests/console")),
)
