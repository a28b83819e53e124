"""Questions of an agent's own workflow to people: pending inputs, whose answers it is signalled."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError

from stigma.agent.v1.agent_execution_pb2 import (
    INPUT_RESOLUTION_KIND_ANSWERED,
    INPUT_RESOLUTION_KIND_DECLINED,
    INPUT_RESOLUTION_KIND_EXPIRED,
    PENDING_INPUT_KIND_QUESTION,
    PendingInput,
    ToolCall,
)
from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.contracts import agent_runtime, external_signals, json_text, limits
from stigma.contracts.agent_runtime import InputRequest
from stigma.contracts.workflows import AgentRuntime
from stigma.internal.v1.execution_pb2 import SubmitInput
from stigma_orchestrator.agents.call_input import input_id, new_input
from stigma_orchestrator.agents.inputs import PendingInputs
from stigma_orchestrator.agents.step import StepContext

_NO_STEP = 0
"""Stands for the model call that asks, in ids: there is none."""


@dataclass
class RuntimeInputs:
    """The requests of input of one execution's workflow."""

    context: StepContext
    inputs: PendingInputs

    def __post_init__(self) -> None:
        self._known: set[str] = set()
        # In the order in which they began: that of a set is another one in a replay.
        self._waits: dict[asyncio.Task[None], None] = {}

    def ask(self, request: InputRequest) -> None:
        """Ask people, unless this is a repetition, or too much is waited for already."""
        if request.id in self._known:
            return
        self._known.add(request.id)
        waiting = len(self.inputs.in_order())
        if waiting >= limits.MAX_RUNTIME_INPUTS:
            reason = f"{waiting} inputs are waited for already"
            self._spawn(self._tell(agent_runtime.refusal(request.id, reason)))
            return
        found = self._pending(request, len(self._known))
        self.inputs.add(found)
        self._spawn(self._wait(request, found))

    def stop(self) -> None:
        """Wait for nobody any more."""
        for wait in list(self._waits):
            wait.cancel()
        self.inputs.give_up()

    async def _wait(self, request: InputRequest, found: PendingInput) -> None:
        submitted = await self.inputs.wait(found)
        await self._tell(_answer(request, submitted))

    async def _tell(self, answer: RawValue) -> None:
        child = agent_runtime.child_id(self.context.execution_id)
        try:
            handle = workflow.get_external_workflow_handle(child)
            await external_signals.send(handle.signal(AgentRuntime.answer_input, answer))
        except FailureError as error:
            # It has ended: the execution learns its outcome.
            extra = {"error": type(error).__name__}
            workflow.logger.warning("input_answer_not_taken", extra=extra)

    def _spawn(self, coroutine: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.create_task(coroutine)
        self._waits[task] = None
        task.add_done_callback(lambda done: self._waits.pop(done, None))

    def _pending(self, request: InputRequest, number: int) -> PendingInput:
        context, kind = self.context, PENDING_INPUT_KIND_QUESTION
        arguments = json_text.compact({"question": request.question})
        id_ = input_id(context, ToolCall(call_id=f"{_NO_STEP}-{number}"), kind)
        # No call of a model is behind it: none is named.
        asked = ToolCall(arguments_json=arguments)
        found = new_input(context, asked, id_, kind, request.timeout)
        found.arguments_json = arguments
        found.question = request.question
        found.schema = request.schema
        return found


def _answer(request: InputRequest, submitted: SubmitInput | None) -> RawValue:
    if submitted is None:
        how, reply = INPUT_RESOLUTION_KIND_EXPIRED, InputAnswer()
        return agent_runtime.answer(request.id, how, reply, by="", reason="")
    answer = submitted.request
    is_declined = answer.HasField("decline")
    return agent_runtime.answer(
        request.id,
        INPUT_RESOLUTION_KIND_DECLINED if is_declined else INPUT_RESOLUTION_KIND_ANSWERED,
        answer.reply,
        by=submitted.principal,
        reason=answer.decline.reason,
    )
