"""Whatever comes together with an outcome: caller and execution agree."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError

from stigma.contracts.executions import Kind, phase_name
from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import AnyExecutions, Called
from tests.integration.installation import Installation, environment
from tests.integration.model_gate import HeldCall, ModelGate
from tests.stack.faults import FaultProxy, LoseReply
from tests.stack.plugin import StartStack, TemporalServer
from tests.stack.waiting import eventually

DURING_DELIVERY = "cancel or deadline during delivery"
PHASES = {"CANCELLED": "CANCELLED", "TIMEOUT": "TIMED_OUT", "FAILED": "FAILED"}
# Fewer of workflows, which are all cancelled after the answer: each is a run of the engine as well.
MOMENTS = {Kind.AGENT: range(20), Kind.WORKFLOW: range(0, 20, 2)}
COMPLETE, FAIL = "RespondActivityTaskCompleted", "RespondActivityTaskFailed"


@pytest.fixture(scope="module")
async def proxy(temporal_server: TemporalServer) -> AsyncIterator[FaultProxy]:
    """Stands between the orchestrator and Temporal."""
    async with FaultProxy(temporal_server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def faulty(
    proxy: FaultProxy, new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation whose deliveries can be held back and harmed."""
    directory = tmp_path_factory.mktemp("faulty")
    async with ModelGate() as gate:
        variables = dict(environment(gate, directory))
        variables["stigma_orchestrator"] = {"TEMPORAL_ADDRESS": proxy.address}
        stack = await new_stack(
            services=["stigma_orchestrator", "ai_worker", "stigma_api"], environment=variables
        )
        async with Installation(stack, gate, directory) as installation:
            yield installation


async def heard(called: Called) -> str:
    """What the caller heard, as the execution's phase."""
    try:
        await called.result()
    except WorkflowFailureError as error:
        cause: BaseException | None = error.cause
        if isinstance(cause, ActivityError):
            cause = cause.cause
        assert isinstance(cause, ApplicationError), cause
        return PHASES[str(cause.type).partition("_EXECUTION_")[2]]
    return "COMPLETED"


async def held_at_delivery(
    faulty: Installation, proxy: FaultProxy, *, agent_timeout: float = 0
) -> Called:
    """A call whose agent has answered, and whose delivery does not get through."""
    message = uuid.uuid4().hex
    called = await faulty.call(
        PythonCaller, Job("held", message, agent_timeout=agent_timeout, timeout=40)
    )
    call = await faulty.gate.held(message)
    # The orchestrator completes its own activities too: only the caller's is harmed.
    token = await faulty.tokens.of(called.workflow.id)
    proxy.pause(COMPLETE, matches=lambda request: token in request)
    before = proxy.counts[COMPLETE].harmed
    call.answer("answered")
    await proxy.wait_for(COMPLETE, lambda counts: counts.harmed > before)
    return called


@pytest.mark.contract(DURING_DELIVERY)
async def test_cancel_while_success_is_delivered(faulty: Installation, proxy: FaultProxy) -> None:
    called = await held_at_delivery(faulty, proxy)
    await faulty.cancel(called.execution_id)
    proxy.clear()
    assert await heard(called) == "COMPLETED"
    assert phase_name(await faulty.ended(called.execution_id)) == "COMPLETED"


@pytest.mark.contract(DURING_DELIVERY)
async def test_deadline_while_success_is_delivered(faulty: Installation, proxy: FaultProxy) -> None:
    called = await held_at_delivery(faulty, proxy, agent_timeout=4)
    status = (await faulty.execution(called.execution_id)).status
    deadline = status.deadline.ToDatetime(UTC)
    await eventually(lambda: datetime.now(UTC) > deadline, what="the deadline")
    proxy.clear()
    assert await heard(called) == "COMPLETED"
    assert phase_name(await faulty.ended(called.execution_id)) == "COMPLETED"


@pytest.mark.contract(DURING_DELIVERY)
async def test_cancel_while_the_reply_to_a_success_is_lost(
    faulty: Installation, proxy: FaultProxy
) -> None:
    """Delivered, but nobody knows: the next try finds the caller resolved, and all is well."""
    message = uuid.uuid4().hex
    called = await faulty.call(PythonCaller, Job("held", message))
    call = await faulty.gate.held(message)
    token = await faulty.tokens.of(called.workflow.id)
    proxy.inject(COMPLETE, LoseReply(), times=1, matches=lambda request: token in request)
    call.answer("answered")
    assert await heard(called) == "COMPLETED"
    with_reply_lost = asyncio.create_task(faulty.ended(called.execution_id))
    await faulty.cancel(called.execution_id)
    assert phase_name(await with_reply_lost) == "COMPLETED"


@pytest.mark.contract(DURING_DELIVERY)
async def test_success_does_not_overtake_a_cancellation(
    faulty: Installation, proxy: FaultProxy
) -> None:
    """Once decided, a cancellation stays one, though its delivery takes several tries."""
    message = uuid.uuid4().hex
    called = await faulty.call(PythonCaller, Job("held", message))
    await faulty.gate.held(message)
    token = await faulty.tokens.of(called.workflow.id)
    proxy.inject(FAIL, LoseReply(grpc.StatusCode.INTERNAL), matches=lambda r: token in r)
    await faulty.cancel(called.execution_id)
    assert await heard(called) == "CANCELLED"
    assert phase_name(await faulty.ended(called.execution_id)) == "CANCELLED"


@pytest.mark.contract(DURING_DELIVERY, "agent", "workflow")
@pytest.mark.parametrize(
    ("executions", "ending"),
    [(Kind.AGENT, "cancel"), (Kind.AGENT, "deadline"), (Kind.WORKFLOW, "cancel")],
    indirect=["executions"],
)
async def test_at_any_moment(
    installation: Installation, executions: AnyExecutions, ending: str
) -> None:
    """The answer and a cancellation, or the deadline, meet at many different moments."""
    moments = MOMENTS[executions.kind]
    outcomes = await asyncio.gather(
        *(race(installation, executions, ending, nth) for nth in moments)
    )
    assert all(caller == execution for caller, execution in outcomes), outcomes


async def race(
    installation: Installation, executions: AnyExecutions, ending: str, nth: int
) -> tuple[str, str]:
    """Let an answer meet another ending; what caller and execution made of it."""
    message = uuid.uuid4().hex
    timeout = 2.0 if ending == "deadline" else 0
    called = await executions.call(PythonCaller, Job("held", message, agent_timeout=timeout))
    hears = asyncio.create_task(heard(called))
    call = await held_in_time(installation, message, hears)
    if ending == "deadline" and call is not None:
        status = (await executions.execution(called.execution_id)).status
        moment = status.deadline.ToDatetime(UTC) + timedelta(milliseconds=20) * (nth - 10)
        await eventually(lambda: datetime.now(UTC) >= moment, what="the moment")
        if call.waits:
            call.answer("answered")
    elif call is not None and nth % 2:
        await executions.cancel(called.execution_id)
        if call.waits:
            call.answer("answered")
    elif call is not None:
        call.answer("answered")
        for _ in range(nth // 2):  # each is a few milliseconds
            await executions.execution(called.execution_id)
        await executions.cancel(called.execution_id)
    ended = await executions.ended(called.execution_id)
    return await hears, phase_name(ended)


async def held_in_time(
    installation: Installation, message: str, hears: asyncio.Task[str]
) -> HeldCall | None:
    """Return the model call; None where a machine is so slow that the deadline comes before it."""
    held = asyncio.create_task(installation.gate.held(message))
    await asyncio.wait({held, hears}, return_when=asyncio.FIRST_COMPLETED)
    if held.done():
        return held.result()
    held.cancel()
    return None
