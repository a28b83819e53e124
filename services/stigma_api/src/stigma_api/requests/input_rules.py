"""The rules of requests that answer what executions wait for, or send them messages."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_service_pb2 import (
    SendAgentMessageRequest,
    SubmitAgentInputRequest,
)
from stigma.contracts import limits
from stigma_api.requests.violations import Violations, parse_json


def check_submit(request: SubmitAgentInputRequest) -> None:
    """Check an answer to a pending input.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    found = Violations()
    _request(found, request)
    found.require(request.input_id, "input_id", "must be given")
    answer = request.WhichOneof("answer")
    found.require(answer, "answer", "give approve, deny, reply or decline")
    if answer == "approve" and request.approve.arguments_json:
        _json(found, "approve.arguments_json", request.approve.arguments_json, of_object=True)
    for name in ("deny", "decline"):
        if answer == name:
            reason = getattr(request, name).reason
            found.size(f"{name}.reason", reason, limits.MAX_REASON_BYTES)
    if answer == "reply":
        content = request.reply.WhichOneof("content")
        found.require(content, "reply", "give json or text")
        found.size("reply.text", request.reply.text, limits.MAX_TOOL_RESULT_BYTES)
        if content == "json":
            _json(found, "reply.json", request.reply.json)
    found.raise_if_any()


def check_send(request: SendAgentMessageRequest) -> None:
    """Check a message to an execution.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    found = Violations()
    _request(found, request)
    found.require(request.message.strip(), "message", "is empty")
    found.size("message", request.message, limits.MAX_SENT_MESSAGE_BYTES)
    found.raise_if_any()


def _request(found: Violations, request: SubmitAgentInputRequest | SendAgentMessageRequest) -> None:
    found.require(request.id, "id", "must be given")
    found.require(request.request_id, "request_id", "must be given: repetitions are known by it")
    found.size("request_id", request.request_id, limits.MAX_REQUEST_ID_BYTES)


def _json(found: Violations, at: str, text: str, *, of_object: bool = False) -> None:
    found.size(at, text, limits.MAX_TOOL_RESULT_BYTES)
    value, problem = parse_json(text)
    found.require(not problem, at, problem)
    if of_object and not problem:
        found.require(isinstance(value, dict), at, "must be a JSON object")
