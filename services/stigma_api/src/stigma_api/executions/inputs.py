"""Pending inputs of agents' executions, listed and answered; and messages to executions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import (
    Client,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    AgentExecution,
    InputResolution,
    PendingInput,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    ListPendingInputsRequest,
    SendAgentMessageRequest,
    SendAgentMessageResponse,
    SubmitAgentInputRequest,
)
from stigma.contracts import json_text, limits, pending_inputs
from stigma.contracts.executions import Kind
from stigma.contracts.globs import matches_any
from stigma.contracts.workflows import AgentWorkflow, UpdateRefusal
from stigma.internal.v1.execution_pb2 import PendingInputs, SendMessage, SubmitInput
from stigma_api import errors
from stigma_api.access.principals import Action, Principal
from stigma_api.executions.listing import Listing
from stigma_api.executions.reader import ExecutionDescription, Reader
from stigma_api.requests import input_rules, validation
from stigma_api.requests.schema_check import problem_of
from stigma_api.temporal.calls import temporal_call
from stigma_api.temporal.payloads import message

_TIMEOUT = timedelta(seconds=10)
# Executions that are looked at for a page: each may wait for many inputs.
_MAX_EXECUTIONS = 100
_RETRY_AFTER = timedelta(seconds=1)
_ANSWERS_TO_APPROVALS = frozenset(("approve", "deny"))
_CODES = {
    UpdateRefusal.INPUT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    UpdateRefusal.SELF_APPROVAL: grpc.StatusCode.PERMISSION_DENIED,
    UpdateRefusal.NOT_AN_APPROVER: grpc.StatusCode.PERMISSION_DENIED,
    UpdateRefusal.ANSWER_NOT_ALLOWED: grpc.StatusCode.INVALID_ARGUMENT,
    UpdateRefusal.TOO_MANY_MESSAGES: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


@dataclass(frozen=True)
class VisibleInput:
    """A pending input that a principal may see."""

    found: PendingInput
    may_answer: bool
    """Whether an answer of the principal's would be taken."""


class ExecutionInputs:
    """Inputs of agents' executions, for principals."""

    def __init__(
        self, client: Client, reader: Reader[AgentExecution], listing: Listing[AgentExecution]
    ) -> None:
        self._client = client
        self._reader = reader
        self._listing = listing

    async def submit(
        self, principal: Principal, request: SubmitAgentInputRequest
    ) -> InputResolution:
        """Answer a pending input.

        Raises:
            ApiError: with the reason of the refusal; UNAVAILABLE, the answer may have been taken:
                the same request tells.
        """
        input_rules.check_submit(request)
        named = pending_inputs.execution_of(request.input_id, request.id)
        found = await self._get(principal, named)
        is_approval = request.WhichOneof("answer") in _ANSWERS_TO_APPROVALS
        if is_approval or not _is_own(principal, found):
            principal.require(Action.EXECUTIONS_APPROVE)
            principal.require_use(Kind.AGENT, _agent_of(found.execution))
        await self._check_schema(named, request)
        update_id = _update_id(principal, "input", request.request_id)
        submitted = SubmitInput(request=request, principal=principal.name, update_id=update_id)
        resolution: InputResolution = await self._update(
            named, AgentWorkflow.submit_input, submitted, update_id
        )
        return resolution

    async def send(
        self, principal: Principal, request: SendAgentMessageRequest
    ) -> SendAgentMessageResponse:
        """Send a message to a running execution.

        Raises:
            ApiError: as `submit`.
        """
        principal.require(Action.EXECUTIONS_START)
        input_rules.check_send(request)
        await self._reader.get_visible(principal, request.id)
        update_id = _update_id(principal, "message", request.request_id)
        sent = SendMessage(text=request.message, principal=principal.name, update_id=update_id)
        response: SendAgentMessageResponse = await self._update(
            request.id, AgentWorkflow.send_message, sent, update_id
        )
        return response

    async def stop_after_step(self, execution_id: str, reason: str) -> None:
        """Have an execution stop once the calls under way have ended.

        Raises:
            ApiError: as `submit`.
        """
        update_id = f"stop-{hashlib.sha256(reason.encode()).hexdigest()[:16]}"
        await self._update(execution_id, AgentWorkflow.stop_after_step, reason, update_id)

    async def page(
        self, principal: Principal, request: ListPendingInputsRequest
    ) -> tuple[list[PendingInput], str]:
        """Return the pending inputs of a page of executions, and the next page's token."""
        if request.id:
            await self._get(principal, request.id)
            return await self._of_execution(principal, request.id, request.input_id), ""
        if not principal.may(Action.EXECUTIONS_APPROVE):
            principal.require(Action.EXECUTIONS_READ)
        query = self._listing.waiting_query(
            principal, request.filter, of_others=principal.may(Action.EXECUTIONS_APPROVE)
        )
        size = min(validation.page_size(request.page_size), _MAX_EXECUTIONS)
        while True:
            infos, token = await self._listing.infos(query, size, request.page_token)
            found = [each for info in infos for each in await self._of_memo(principal, info)]
            if size == 1 or sum(each.ByteSize() for each in found) <= limits.MAX_PAGE_BYTES:
                return found, token
            size = max(1, size // 2)

    async def _of_execution(
        self, principal: Principal, execution_id: str, input_id: str
    ) -> list[PendingInput]:
        """Return the inputs of an execution; without `input_id`, of the agents below it too."""
        if input_id:
            named = pending_inputs.execution_of(input_id, execution_id)
            await self._get(principal, named)
            return list((await self._query(named, input_id)).inputs)
        own = list((await self._query(execution_id, "")).inputs)
        query = self._listing.waiting_query(principal, f'root = "{execution_id}"', of_others=True)
        infos, _ = await self._listing.infos(query, limits.MAX_SUB_AGENTS, "")
        return own + [each for info in infos for each in await self._of_memo(principal, info)]

    async def visible(
        self, principal: Principal, *, size: int, token: str
    ) -> tuple[list[VisibleInput], str]:
        """Return a page as `page` does, each with whether the principal may answer it."""
        of_others = principal.may(Action.EXECUTIONS_APPROVE)
        if not of_others:
            principal.require(Action.EXECUTIONS_READ)
        query = self._listing.waiting_query(principal, "", of_others=of_others)
        infos, token = await self._listing.infos(query, size, token)
        found: list[VisibleInput] = []
        for info in infos:
            inputs = await self._of_memo(principal, info)
            execution = await self._listing.execution(info)
            found += [
                VisibleInput(each, _may_answer(principal, execution, each)) for each in inputs
            ]
        return found, token

    async def visible_of(
        self, principal: Principal, execution_id: str, input_id: str = ""
    ) -> list[VisibleInput]:
        """Return an execution's pending inputs, or one, with details, as `visible`."""
        execution = (await self._get(principal, execution_id)).execution
        inputs = (await self._query(execution_id, input_id)).inputs
        return [VisibleInput(each, _may_answer(principal, execution, each)) for each in inputs]

    async def _of_memo(
        self, principal: Principal, info: WorkflowExecutionInfo
    ) -> list[PendingInput]:
        execution = await self._listing.execution(info)
        if not _may_see_inputs(principal, execution):
            return []
        payload = info.memo.fields.get(pending_inputs.MEMO)
        found = await message(self._client, [payload] if payload else [], PendingInputs)
        return list(found.inputs)

    async def _get(
        self, principal: Principal, execution_id: str
    ) -> ExecutionDescription[AgentExecution]:
        found = await self._reader.get(execution_id)
        if not _may_see_inputs(principal, found.execution):
            raise errors.not_found(f"agent execution {execution_id}")
        return found

    async def _check_schema(self, execution_id: str, request: SubmitAgentInputRequest) -> None:
        """Check what a person gives against the schema of the pending input, if it has one.

        What is pending no more is not checked: the execution itself knows why, or the reply.
        """
        edited = request.approve.arguments_json
        if not edited and not request.HasField("reply"):
            return
        pending = (await self._query(execution_id, request.input_id)).inputs
        schema = pending[0].schema if pending else ""
        if not schema:
            return
        at, value = "reply", request.reply.text
        if edited:
            at, value = "approve.arguments_json", json_text.parse(edited)
        elif request.reply.HasField("json"):
            value = json_text.parse(request.reply.json)
        if problem := problem_of(schema, value):
            raise _refused("SCHEMA_MISMATCH", f"{at} {problem}", grpc.StatusCode.INVALID_ARGUMENT)

    async def _query(self, execution_id: str, input_id: str) -> PendingInputs:
        handle = self._client.get_workflow_handle(execution_id)
        try:
            async with temporal_call():
                return await handle.query(AgentWorkflow.pending_inputs, input_id)
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise errors.unavailable("the execution cannot say what it waits for") from error
        except RPCError as error:
            raise errors.unavailable("no worker says what the execution waits for") from error

    async def _update(self, execution_id: str, update: Any, argument: Any, update_id: str) -> Any:
        handle = self._client.get_workflow_handle(execution_id)
        try:
            async with temporal_call(_TIMEOUT):
                return await handle.execute_update(
                    update, argument, id=update_id, rpc_timeout=_TIMEOUT
                )
        except WorkflowUpdateFailedError as error:
            raise _refusal(error.cause) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            message = "no worker took it in time: send the same request again"
            raise errors.unavailable(message) from error
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            raise _refused(UpdateRefusal.NOT_RUNNING, "the execution has ended") from error


def _refusal(cause: BaseException | None) -> errors.ApiError:
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if kind not in UpdateRefusal.__members__.values() or not isinstance(cause, ApplicationError):
        return errors.unavailable("the execution's worker knows no such request: is it older?")
    refused = UpdateRefusal(str(kind))
    code = _CODES.get(refused, grpc.StatusCode.FAILED_PRECONDITION)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.resource_exhausted(cause.message, _RETRY_AFTER)
    return _refused(refused, cause.message, code)


def _refused(
    reason: str, text: str, code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION
) -> errors.ApiError:
    return errors.ApiError(code, text, ErrorInfo(reason=reason, domain=errors.ERROR_DOMAIN))


def _is_own(principal: Principal, found: ExecutionDescription[AgentExecution]) -> bool:
    return principal.may(Action.EXECUTIONS_START) and principal.may_see(
        found.execution.spec.principal
    )


def _may_see_inputs(principal: Principal, execution: AgentExecution) -> bool:
    own = principal.may_see(execution.spec.principal)
    return own or principal.may_answer(_agent_of(execution))


def _agent_of(execution: AgentExecution) -> str:
    """Return the name of an execution's agent; empty for an inline one."""
    return execution.spec.agent_id.partition("@")[0]


def _may_answer(principal: Principal, execution: AgentExecution, found: PendingInput) -> bool:
    """Return whether an answer to an input that is visible would be taken."""
    owner = execution.spec.principal
    is_approval = found.kind == PENDING_INPUT_KIND_APPROVAL
    is_own = principal.may(Action.EXECUTIONS_START) and principal.may_see(owner)
    if (is_approval or not is_own) and not principal.may_answer(_agent_of(execution)):
        return False
    if found.approvers and not matches_any(principal.name, found.approvers):
        return False
    return not (found.not_starter and owner == principal.name)


def _update_id(principal: Principal, kind: str, request_id: str) -> str:
    content = "\0".join((principal.name, kind, request_id))
    return hashlib.sha256(content.encode()).hexdigest()[:32]
