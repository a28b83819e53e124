"""Which tests run in one process together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shard:
    """Folders whose tests share a process, a Temporal server, ports and a coverage file."""

    name: str
    folders: tuple[str, ...]


# The longest first: whichever is last must not be long.
SHARDS = (
    Shard("containers", ("tests/images", "tests/containers")),
    Shard("reliability", ("tests/reliability",)),
    Shard("integration", ("tests/integration",)),
    Shard("api", ("services/stigma_api",)),
    Shard("orchestrator", ("services/stigma_orchestrator", "services/ai_worker")),
    Shard("engine", ("services/zigflow_worker",)),
    Shard("packages", ("packages",)),
    Shard("upgrades", ("tests/upgrades",)),
    Shard("rehearsals", ("tests/rehearsals",)),
    Shard("observability", ("tests/observability",)),
    Shard("callers", ("tests/callers",)),
    Shard("docs", ("tests/docs",)),
    Shard("charts", ("tests/charts", "tests/cluster")),
    Shard("stack", ("tests/stack", "tests/console")),
)
