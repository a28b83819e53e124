"""High failure rate: a provider's key that has expired, and a version of an agent that is bad."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from stigma.agent.v1.agent_pb2 import Agent, AgentSpec
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import Called, failure_of
from tests.rehearsals.rehearsal_environment import RehearsalEnvironment

RUNBOOK = "runbooks/high-failure-rate.md"
ALERTS = (
    "runbooks/executions-fail.md",
    "runbooks/agent-calls-fail.md",
    "runbooks/model-calls-fail.md",
)

RENEWED_KEY = "sk-of-this-year-4713"
CALLS = 3

GOOD = "{model: 'gate:held'}"
BAD = "{model: 'scripted:x', script: {steps: [{failure: {reason: INVALID_REQUEST, message: bad}}]}}"
_AS = "-c user.name=operator -c user.email=operator@localhost"
REVIEWER = "apiVersion: stigma/v1\\nkind: Agent\\nmetadata: {name: reviewer}\\nspec: "


async def test_a_providers_key_has_expired(rehearsal: RehearsalEnvironment) -> None:
    site = rehearsal.installation
    await site.agents.ApplyAgent(
        ApplyAgentRequest(agent=Agent(name="keyed", spec=AgentSpec(model="renewed:any")))
    )
    message = uuid.uuid4().hex
    fault = "a provider's key that has expired"
    async with (
        _provider(rehearsal, message),
        AsyncExitStack() as stack,
        rehearsal.operator(RUNBOOK, fault) as operator,
    ):
        refused = await _ask(rehearsal, message)
        failures = [await failure_of(each) for each in refused]
        assert {each.details[0]["reason"] for each in failures} == {"AUTHENTICATION"}
        await operator.sees("find", *(each.execution_id for each in refused))
        await operator.sees("count", f"{CALLS} keyed@1 AUTHENTICATION:")
        await operator.knows(ID=refused[0].execution_id)
        assert "AUTHENTICATION" in await operator.follow("look")
        calls = await operator.follow("model-calls")
        assert refused[-1].execution_id in calls
        assert 'outcome="AUTHENTICATION"' in calls
        alerted = [
            await stack.enter_async_context(rehearsal.operator(page, fault)) for page in ALERTS
        ]
        for each in alerted:
            await each.sees("look", refused[-1].execution_id)
        # The cure: the key is renewed, and ai_worker reads it.
        rehearsal.key_file.write_text(RENEWED_KEY)
        await rehearsal.stack.restart("ai_worker")
        answered = await _ask(rehearsal, message)
        assert [await each.result() for each in answered] == ["reviewed"] * CALLS
        await operator.sees("verify", *(each.execution_id for each in answered))
        for one in (operator, *alerted):
            one.cured()


async def test_an_agents_new_version_is_bad(rehearsal: RehearsalEnvironment) -> None:
    site = rehearsal.installation
    message = uuid.uuid4().hex
    async with rehearsal.operator(RUNBOOK, "a bad version of an agent") as operator:
        await operator.prepares("git init --quiet . && mkdir agents")
        for spec in (GOOD, BAD):
            await operator.prepares(f'printf "{REVIEWER}{spec}\\n" >agents/reviewer.yaml')
            await operator.prepares(
                f"git add agents && git {_AS} commit --quiet --message reviewer"
            )
            await operator.prepares("stigma agent apply -f agents/reviewer.yaml")
        before = await site.call(PythonCaller, Job("reviewer@1", f"before {message}"))
        await rehearsal.gate.held(f"before {message}")
        failed = await site.call(PythonCaller, Job("reviewer", message))
        assert (await failure_of(failed)).details[0]["reason"] == "INVALID_REQUEST"
        await operator.sees("count", "1 reviewer@2 INVALID_REQUEST:")
        # The cure: the content of the version before.
        assert "reviewer@3 applied" in await operator.follow("previous-agent")
        again = await site.call(PythonCaller, Job("reviewer", f"again {message}"))
        (await rehearsal.gate.held(f"again {message}")).answer("reviewed")
        assert await again.result() == "reviewed"
        # Stop the damage: whatever of it runs.
        await operator.follow("cancel-all")
        assert (await failure_of(before)).type == "AGENT_EXECUTION_CANCELLED"
        await operator.sees("verify", "COMPLETED", "CANCELLED")
        operator.cured()


async def _ask(rehearsal: RehearsalEnvironment, message: str) -> list[Called]:
    site = rehearsal.installation
    return [await site.call(PythonCaller, Job("keyed", message)) for _ in range(CALLS)]


@asynccontextmanager
async def _provider(rehearsal: RehearsalEnvironment, prompt: str) -> AsyncIterator[None]:
    """Answer whoever has the renewed key, and refuse all others."""

    async def serve() -> None:
        number = 0
        while True:
            number += 1
            call = await rehearsal.gate.held(prompt, nth=number, within=timedelta(minutes=2))
            if call.headers.get("authorization") == f"Bearer {RENEWED_KEY}":
                call.answer("reviewed")
            else:
                call.refuse(401, "invalid_api_key")

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve())
        yield
        serving.cancel()
