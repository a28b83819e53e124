"""Cost of model calls, for people."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_pb2 import Usage


def cost_text(usage: Usage) -> str:
    """Return the cost in US dollars, and whether there is more; empty for none."""
    known = f"${usage.cost_usd:,.4f}" if usage.cost_usd else ""
    if not usage.unpriced_calls:
        return known
    calls = f"{usage.unpriced_calls} call{'' if usage.unpriced_calls == 1 else 's'}"
    return f"{known} and {calls} of unknown cost" if known else "cost not known"
