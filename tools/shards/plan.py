"""Which tests run in one process together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shard:
    """Folders whose tests share a process, a Temporal server and ports.

    ``seconds`` and ``more_seconds``: about how long it takes on a bare machine, and what it skips
    there, on two cores: the longest begin first, so that all lanes end together.
    ``waits``: whether it does little but wait, for networks that are cut and services that stop: it
    runs in a lane of its own, beside those that keep the cores busy.
    ``measured``: whether coverage is, which takes services and tests twice the CPU.
    ``needs``: what those tests wait for that it skips on a bare machine, of what CI prepares
    meanwhile.
    """

    name: str
    folders: tuple[str, ...]
    seconds: int
    more_seconds: int = 0
    waits: bool = False
    measured: bool = False
    needs: str = ""


SHARDS = (
    Shard("reliability", ("tests/reliability",), 610),
    Shard("orchestrator", ("services/stigma_orchestrator",), 1150, measured=True),
    Shard("packages", ("packages",), 690, measured=True),
    Shard("integration", ("tests/integration",), 345),
    Shard("ai-worker", ("services/ai_worker",), 180, measured=True),
    Shard("engine", ("services/zigflow_worker",), 300, 90, measured=True, needs="callers"),
    Shard("api", ("services/stigma_api",), 280, 20, measured=True),
    Shard("rehearsals", ("tests/rehearsals",), 150),
    Shard("docs", ("tests/docs",), 110),
    Shard("upgrades", ("tests/upgrades",), 130),
    Shard("conformance", ("tests/conformance",), 60),
    Shard("stack", ("tests/stack", "tests/console", "tests/wheels"), 135, 45),
    Shard("observability", ("tests/observability",), 80, 110),
    Shard("callers", ("tests/callers", "tests/mcp_servers"), 50, 265, needs="callers"),
    Shard("containers", ("tests/images", "tests/containers"), 15, 760, waits=True, needs="images"),
    Shard("charts", ("tests/charts", "tests/cluster"), 10, 130, needs="charts"),
)
