"""The example with an approval, over the whole installation: approved, changed and denied."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.stack.command_line import stigma
from tests.stack.plugin import StartStack
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

REFUND = Path(__file__).parents[2] / "examples" / "refund"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
async def stack(new_package_stack: StartStack) -> Stack:
    return await new_package_stack()


@pytest.fixture(scope="module")
def answered() -> set[str]:
    """Executions of earlier tests: lists are late, and may still have what they waited for."""
    return set()


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (("approve", "--yes"), "4200 cents for A-7"),
        (("approve", "--yes", "--edit", '{"order": "A-7", "cents": 1000}'), "1000 cents for A-7"),
        (("deny", "--reason", "ask the warehouse first"), "ask the warehouse first"),
    ],
)
async def test_refund(
    stack: Stack, answered: set[str], answer: tuple[str, ...], output: str
) -> None:
    variables = {
        "STIGMA_API_ADDRESS": stack.api_address,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }
    for kind, folder in (("workflow", "workflows"), ("agent", "agents")):
        applied = await stigma(kind, "apply", "-f", str(REFUND / folder), **variables)
        assert applied.code == 0, applied.stderr
    running = asyncio.create_task(stigma("run", str(REFUND / "workflow.yaml"), **variables))

    async def waits() -> dict[str, Any] | None:
        listed = await stigma("inputs", "list", "-o", "json", **variables)
        assert listed.code == 0, listed.stderr
        inputs = json.loads(listed.stdout)["inputs"]
        return next((each for each in inputs if each["executionId"] not in answered), None)

    pending = await eventually(waits, what="the input")
    answered.add(pending["executionId"])
    assert (pending["tool"], pending["agentId"]) == ("refund", "refund-desk@1")
    waits_for = _time(pending["expireTime"]) - _time(pending["requestTime"])
    assert waits_for == timedelta(hours=36)
    verb, *options = answer
    told = await stigma("execution", verb, pending["executionId"], *options, **variables)
    assert told.code == 0, told.stderr
    done = await running
    assert done.code == 0, done.stderr
    assert output in json.loads(done.stdout)
