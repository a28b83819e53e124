"""Pending inputs of an execution: shown in its memo, answered by updates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ApplicationError

from stigma.agent.v1.agent_execution_pb2 import (
    INPUT_RESOLUTION_KIND_ANSWERED,
    INPUT_RESOLUTION_KIND_APPROVED,
    INPUT_RESOLUTION_KIND_DECLINED,
    INPUT_RESOLUTION_KIND_DENIED,
    INPUT_RESOLUTION_KIND_EXPIRED,
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    InputResolution,
    InputResolutionKind,
    PendingInput,
)
from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer
from stigma.contracts import approvals, json_text, limits, pending_inputs, search_attributes
from stigma.contracts.globs import matches_any
from stigma.contracts.typed_answers import DONE
from stigma.contracts.workflows import UpdateRefusal
from stigma.internal.v1.execution_pb2 import PendingInputs as PendingInputsMemo
from stigma.internal.v1.execution_pb2 import SubmitInput
from stigma_orchestrator.agents.refusal import refusal

_KINDS: dict[str, InputResolutionKind.ValueType] = {
    "approve": INPUT_RESOLUTION_KIND_APPROVED,
    "deny": INPUT_RESOLUTION_KIND_DENIED,
    "reply": INPUT_RESOLUTION_KIND_ANSWERED,
    "decline": INPUT_RESOLUTION_KIND_DECLINED,
}
_AFTER_DEADLINE = timedelta(minutes=1)
"""Timers of one time may fire in any order, and some time apart."""
_ANSWERS_TO_APPROVALS = frozenset(("approve", "deny"))


class PendingInputs:
    """The pending inputs of an execution, and the answers that calls have not taken yet."""

    def __init__(
        self,
        principal: str,
        deadline: datetime,
        carried: Iterable[PendingInput],
        is_input_required: Callable[[], bool],
    ) -> None:
        """Go on with those of the run before.

        Args:
            principal: that started the execution.
            deadline: at which the execution is stopped.
            carried: pending inputs of the run before.
            is_input_required: whether nothing but people is waited for.
        """
        self._principal = principal
        self._deadline = deadline
        self._pending = {each.id: _copy(each) for each in carried}
        self._answers: dict[str, SubmitInput] = {}
        self._resolved: dict[str, InputResolution] = {}
        self._is_input_required = is_input_required
        self._is_publishing = False
        self._published: list[str] = []
        self._published_phase = bool(self._pending)

    def __bool__(self) -> bool:
        """Return whether anything is waited for."""
        return bool(self._pending)

    @property
    def has_answers(self) -> bool:
        """Whether answers have come that the calls have not taken yet."""
        return bool(self._answers)

    @property
    def count(self) -> int:
        """Number of inputs that are waited for."""
        return len(self._pending)

    def in_order(self) -> list[PendingInput]:
        """Return the pending inputs, oldest first."""
        return list(self._pending.values())

    def find(self, input_id: str) -> PendingInput | None:
        """Return a pending input, if there is one of this id."""
        return self._pending.get(input_id)

    def add(self, found: PendingInput) -> None:
        """Wait for something more."""
        self._pending[found.id] = found
        self.publish_soon()

    def give_up(self) -> None:
        """Wait for nothing any more."""
        if self._pending:
            self._pending.clear()
            self.publish_soon()

    async def wait(self, found: PendingInput) -> SubmitInput | None:
        """Wait for the answer; return None when the input expires.

        At the deadline it does not: that stops the execution, and an agent that learnt before that
        nobody has answered would go on.
        """
        expire_time = found.expire_time.ToDatetime(UTC)
        left = expire_time - workflow.now()
        # A wait that begins later has no timer: recorded runs need it so.
        if expire_time >= self._deadline and left > timedelta():
            left += _AFTER_DEADLINE
        timer = asyncio.create_task(workflow.sleep(max(left, timedelta())))
        try:
            await workflow.wait_condition(lambda: found.id in self._answers or timer.done())
        finally:
            timer.cancel()
        if (answer := self._answers.pop(found.id, None)) is not None:
            return answer
        self._resolve(found, INPUT_RESOLUTION_KIND_EXPIRED)
        return None

    def check(self, submitted: SubmitInput) -> None:
        """Check an answer, before history has it.

        Raises:
            ApplicationError: of a type of `UpdateRefusal`.
        """
        request = submitted.request
        found = self._pending.get(request.input_id)
        if found is None:
            raise self._not_pending(request.input_id)
        if found.expire_time.ToDatetime(UTC) <= workflow.now():
            raise refusal(UpdateRefusal.INPUT_EXPIRED, "it has expired")
        is_approval = found.kind == PENDING_INPUT_KIND_APPROVAL
        if request.arguments_digest != found.arguments_digest and (
            is_approval or request.arguments_digest
        ):
            raise refusal(UpdateRefusal.DIGEST_MISMATCH, "the answer is for other arguments")
        if found.not_starter and submitted.principal == self._principal:
            message = "who started the execution may not answer this"
            raise refusal(UpdateRefusal.SELF_APPROVAL, message)
        if found.approvers and not matches_any(submitted.principal, found.approvers):
            message = f"{submitted.principal} is not among those that may answer this"
            raise refusal(UpdateRefusal.NOT_AN_APPROVER, message)
        answer = request.WhichOneof("answer") or ""
        if (answer in _ANSWERS_TO_APPROVALS) != is_approval or not answer:
            wanted = "approve or deny" if is_approval else "reply or decline"
            raise refusal(UpdateRefusal.ANSWER_NOT_ALLOWED, f"the answer must {wanted}")
        if answer == "reply" and (problem := _reply_problem(found, request.reply)):
            raise refusal(UpdateRefusal.ANSWER_NOT_ALLOWED, problem)
        for is_wanted, is_allowed, what in (
            (request.approve.arguments_json, found.allow_edit, "change the arguments"),
            (request.approve.remember, found.allow_remember, "be for further calls"),
        ):
            if is_wanted and not is_allowed:
                message = f"the approval may not {what}: the rule does not allow it"
                raise refusal(UpdateRefusal.ANSWER_NOT_ALLOWED, message)

    def submit(self, submitted: SubmitInput) -> InputResolution:
        """Take an answer that `check` has passed."""
        request = submitted.request
        found = self._pending[request.input_id]
        self._answers[found.id] = submitted
        resolution = self._resolve(found, _KINDS[request.WhichOneof("answer") or ""])
        resolution.by = submitted.principal
        resolution.remembered = request.approve.remember
        if request.approve.arguments_json:
            resolution.edited_digest = approvals.digest(request.approve.arguments_json)
        return resolution

    def publish_soon(self) -> None:
        """Write what is waited for, and the phase, where others see them: once for all changes."""
        if not self._is_publishing:
            self._is_publishing = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._is_publishing = False
        pending = self.in_order()
        updates: list[SearchAttributeUpdate[Any]] = []
        if _ids(pending) != self._published:
            briefs = [pending_inputs.brief(each) for each in pending]
            workflow.upsert_memo({pending_inputs.MEMO: PendingInputsMemo(inputs=briefs)})
            since = search_attributes.WAITING_SINCE
            if pending:
                updates.append(since.value_set(pending[0].request_time.ToDatetime(UTC)))
            else:
                updates.append(since.value_unset())
            self._published = _ids(pending)
        if (is_required := self._is_input_required()) != self._published_phase:
            phase = search_attributes.PHASE
            updates.append(
                phase.value_set("INPUT_REQUIRED") if is_required else phase.value_unset()
            )
            self._published_phase = is_required
        if updates:
            workflow.upsert_search_attributes(updates)

    def _resolve(self, found: PendingInput, how: InputResolutionKind.ValueType) -> InputResolution:
        del self._pending[found.id]
        resolution = InputResolution(
            input_id=found.id, how=how, arguments_digest=found.arguments_digest
        )
        resolution.time.FromDatetime(workflow.now())
        self._resolved[found.id] = resolution
        self.publish_soon()
        return resolution

    def _not_pending(self, input_id: str) -> ApplicationError:
        resolution = self._resolved.get(input_id)
        if resolution is None:
            return refusal(UpdateRefusal.INPUT_NOT_FOUND, "nothing of this id is waited for")
        how = InputResolutionKind.Name(resolution.how).removeprefix("INPUT_RESOLUTION_KIND_")
        if resolution.how == INPUT_RESOLUTION_KIND_EXPIRED:
            return refusal(UpdateRefusal.INPUT_EXPIRED, "it has expired")
        message = f"{resolution.by} {how.lower()} it already"
        return refusal(UpdateRefusal.INPUT_RESOLVED, message)


def _reply_problem(found: PendingInput, reply: InputAnswer) -> str:
    """Return what is wrong with an answer to what an MCP server asks; "" for nothing."""
    if found.kind == PENDING_INPUT_KIND_AUTHORIZATION:
        is_done = reply.text.strip().lower() == DONE
        return "" if is_done else f"the answer is {DONE!r}, once the page was opened"
    if found.kind != PENDING_INPUT_KIND_ELICITATION:
        return ""
    if len(reply.json.encode()) > limits.MAX_MCP_RESPONSE_BYTES:
        return f"the answer to a form may have {limits.MAX_MCP_RESPONSE_BYTES} bytes"
    content = json_text.parse(reply.json) if reply.HasField("json") else None
    if not isinstance(content, dict):
        return "the answer to a form is a JSON object"
    if not all(map(_is_plain, content.values())):
        return "an answer to a form has texts, numbers, true, false, null and lists of texts alone"
    return ""


def _is_plain(value: Any) -> bool:
    """Return whether the protocol has such a value in the answer to a form."""
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return value is None or isinstance(value, str | int | float)


def _ids(inputs: Iterable[PendingInput]) -> list[str]:
    return [each.id for each in inputs]


def _copy(found: PendingInput) -> PendingInput:
    copied = PendingInput()
    copied.CopyFrom(found)
    return copied
