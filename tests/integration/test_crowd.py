"""A thousand calls at once."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.integration.callers import Job, PythonCrowd
from tests.integration.installation import Installation

CALLERS, CALLS = 20, 50


@pytest.mark.contract("a thousand at once")
async def test_each_has_its_own_result(installation: Installation) -> None:
    """Twenty workflows of fifty calls each, all pending together, each with its own answer."""
    session = uuid.uuid4().hex
    crowds = [
        await installation.call(
            PythonCrowd,
            Job("echo", uuid.uuid4().hex, session=session, calls=CALLS),
            names_request=False,
        )
        for _ in range(CALLERS)
    ]
    wrong = await asyncio.gather(*(crowd.result() for crowd in crowds))
    assert wrong == [[]] * CALLERS
    executions = await installation.of_session(session, CALLERS * CALLS, "phase = COMPLETED")
    assert len({execution.id for execution in executions}) == CALLERS * CALLS


@pytest.mark.contract("a thousand at once")
async def test_services_are_none_the_worse(installation: Installation) -> None:
    """After the crowd, nothing is left over: the next call is as any other."""
    started = await installation.start(agent_id="echo", message="after")
    assert (await installation.ended(started.id)).status.output.text == "after"
    for service in ("stigma_orchestrator", "ai_worker", "stigma_api", "zigflow_worker"):
        status, _ = await installation.stack.process(service).admin("/readyz")
        assert status == 200
