"""A cost that is not known is not shown as none."""

from __future__ import annotations

import pytest

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.contracts.costs import cost_text


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (Usage(), ""),
        (Usage(model_calls=2), ""),
        (Usage(cost_usd=0.01234), "$0.0123"),
        (Usage(unpriced_calls=2), "cost not known"),
        (Usage(cost_usd=1.5, unpriced_calls=1), "$1.5000 and 1 call of unknown cost"),
        (Usage(cost_usd=1.5, unpriced_calls=2), "$1.5000 and 2 calls of unknown cost"),
    ],
)
def test_cost(usage: Usage, text: str) -> None:
    assert cost_text(usage) == text
