"""Calls about what agents wait for from people: lists, answers, and messages to them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from stigma.agent.v1.agent_execution_pb2 import InputResolution, PendingInput, PendingInputKind
from stigma.agent.v1.agent_execution_service_pb2 import (
    CANCEL_MODE_AFTER_STEP,
    CancelAgentExecutionRequest,
    ListPendingInputsRequest,
    SendAgentMessageRequest,
    SendAgentMessageResponse,
    SubmitAgentInputRequest,
    WatchAgentExecutionResponse,
)
from stigma.contracts.executions import Execution, Kind
from stigma_cli.connections import Api
from stigma_cli.errors import CliError, Exit
from stigma_cli.execution_calls import events

# Executions on a page: each may wait for many inputs, with questions of some size.
_PAGE_SIZE = 100
# Longest read of an execution's events, up to the one that asks.
_HISTORY_SECONDS = 20.0


async def list_inputs(api: Api, agent: str, limit: int) -> tuple[Sequence[PendingInput], bool]:
    """Return up to so many pending inputs without their details, and whether there are more.

    Args:
        api: where they are.
        agent: of this one only; "" for all.
        limit: most inputs.
    """
    query = f'agent = "{agent}"' if agent else ""
    found: list[PendingInput] = []
    token = ""
    while True:
        page = await api.call(
            api.executions.ListPendingInputs,
            ListPendingInputsRequest(filter=query, page_size=_PAGE_SIZE, page_token=token),
        )
        found += page.inputs
        token = page.next_page_token
        if not token or len(found) >= limit:
            return found[:limit], bool(token) or len(found) > limit


async def inputs_of(api: Api, execution_id: str, input_id: str = "") -> Sequence[PendingInput]:
    """Return an execution's pending inputs, or one of them: with details, as far as they fit.

    Raises:
        CliError: the execution is not found, or cannot be asked.
    """
    _require_agent(execution_id)
    request = ListPendingInputsRequest(id=execution_id, input_id=input_id)
    return (await api.call(api.executions.ListPendingInputs, request)).inputs


async def find_input(
    api: Api,
    execution_id: str,
    input_id: str,
    kinds: Collection[PendingInputKind.ValueType],
    *,
    is_shown: bool = False,
) -> PendingInput | None:
    """Return the pending input that a command is for, whole; None where its id is not pending.

    Args:
        api: where it is.
        execution_id: whose it is.
        input_id: which; "" for the only one of these kinds.
        kinds: that the command answers.
        is_shown: whether a person sees it before it is answered.

    Raises:
        CliError: none is named, and there is not exactly one; or another was answered before, which
            a repeated command would be for.
    """
    if not input_id:
        found = [each for each in await inputs_of(api, execution_id) if each.kind in kinds]
        if len(found) != 1:
            ids = ", ".join(each.id for each in found)
            message = f"{execution_id} waits for {ids}" if ids else "nothing of the kind is pending"
            hint = "name one of them" if ids else "`stigma inputs list` shows what is waited for"
            raise CliError(message, hint, code=Exit.USAGE if ids else Exit.NOT_FOUND)
        input_id = found[0].id
        if not is_shown and await _was_answered_before(api, execution_id, input_id):
            raise CliError(
                f"{execution_id} was answered before, and now waits for {input_id}",
                f"name it if it is meant; `stigma inputs get {execution_id} {input_id}` shows it",
                code=Exit.USAGE,
            )
    return next(iter(await inputs_of(api, execution_id, input_id)), None)


async def _was_answered_before(api: Api, execution_id: str, input_id: str) -> bool:
    """Return whether an input was resolved before this one was asked for, as far as can be seen.

    Who may only answer sees no events: to them nothing was answered before. Events that do not come
    in time may have had an answer.
    """
    try:
        async with asyncio.timeout(_HISTORY_SECONDS):
            async for event in events(api, execution_id):
                if not isinstance(event, WatchAgentExecutionResponse):
                    continue
                if event.HasField("input_resolved"):
                    return True
                if event.HasField("input_requested") and event.input_requested.input.id == input_id:
                    return False
    except TimeoutError:
        return True
    except CliError as error:
        if error.code not in {Exit.PERMISSION, Exit.NOT_FOUND}:
            raise
    return False


async def submit(api: Api, request: SubmitAgentInputRequest) -> InputResolution:
    """Answer a pending input, over broken connections too; its request id is made here.

    Raises:
        CliError: it was refused; `reason` says why.
    """
    _require_agent(request.id)
    return await api.call_once(api.executions.SubmitAgentInput, request)


async def send_message(api: Api, execution_id: str, text: str) -> SendAgentMessageResponse:
    """Send a message to a running execution, as `submit`."""
    _require_agent(execution_id)
    request = SendAgentMessageRequest(id=execution_id, message=text)
    return await api.call_once(api.executions.SendAgentMessage, request)


async def stop_after_step(api: Api, execution_id: str, reason: str) -> Execution:
    """Ask an agent to stop once its calls under way have ended; return it as it is."""
    _require_agent(execution_id)
    request = CancelAgentExecutionRequest(
        id=execution_id, reason=reason, mode=CANCEL_MODE_AFTER_STEP
    )
    return await api.call_long(api.executions.CancelAgentExecution, request)


def _require_agent(execution_id: str) -> None:
    if Kind.of_id(execution_id) is Kind.WORKFLOW:
        raise CliError(
            f"{execution_id} is an execution of a workflow: only agents wait for people",
            "`stigma inputs list` shows the agents that it has called",
            code=Exit.USAGE,
        )
