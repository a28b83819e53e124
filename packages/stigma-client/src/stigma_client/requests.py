"""Building start requests whose size Temporal and the API accept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from temporalio import workflow

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma.contracts import limits
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
from stigma_client.errors import ExecutionError, refusal

_JSON_ENCODINGS = (b"json/plain", b"json/protobuf")

R = TypeVar("R", StartAgentRequest, StartWorkflowRequest)


def start_agent_request(
    *,
    agent_id: str,
    message: str,
    data: Any,
    spec: AgentSpec | None,
    env: Mapping[str, str] | None,
    config: AgentConfig | None,
    session_id: str,
    labels: Mapping[str, str] | None,
    request_id: str,
) -> StartAgentRequest:
    """Build a request from a workflow's arguments.

    Raises:
        AgentExecutionFailed: something is malformed (INVALID_ARGUMENT), or larger than can be
            carried (TOO_LARGE): Temporal would terminate the workflow for it.
    """
    request = _built(
        Kind.AGENT,
        bool(agent_id) == (spec is not None),
        lambda: StartAgentRequest(
            agent_id=agent_id,
            spec=spec,
            message=message,
            input_json=_json_text(data),
            env=env,
            config=config,
            session_id=session_id,
            labels=labels,
            request_id=request_id,
        ),
    )
    _check_size(Kind.AGENT, "message", len(request.message.encode()), limits.MAX_MESSAGE_BYTES)
    return _within_limits(Kind.AGENT, request)


def start_workflow_request(
    *,
    workflow_id: str,
    data: Any,
    spec: WorkflowSpec | None,
    config: WorkflowConfig | None,
    session_id: str,
    labels: Mapping[str, str] | None,
    request_id: str,
) -> StartWorkflowRequest:
    """Build a request from a workflow's arguments.

    Raises:
        WorkflowExecutionFailed: as `start_agent_request`.
    """
    request = _built(
        Kind.WORKFLOW,
        bool(workflow_id) == (spec is not None),
        lambda: StartWorkflowRequest(
            workflow_id=workflow_id,
            spec=spec,
            input_json=_json_text(data),
            config=config,
            session_id=session_id,
            labels=labels,
            request_id=request_id,
        ),
    )
    size = len(request.spec.document.encode())
    _check_size(Kind.WORKFLOW, "document", size, limits.MAX_DOCUMENT_BYTES)
    return _within_limits(Kind.WORKFLOW, request)


def _built(kind: Kind, ambiguous: bool, build: Callable[[], R]) -> R:
    if ambiguous:
        raise _malformed(kind, f"give either the name of {_A[kind]} or a spec")
    try:
        return build()
    except (TypeError, ValueError) as error:
        raise _malformed(kind, str(error)) from error


def _within_limits(kind: Kind, request: R) -> R:
    _check_size(kind, "input", len(request.input_json.encode()), limits.MAX_INPUT_BYTES)
    _check_size(kind, "request_id", len(request.request_id.encode()), limits.MAX_REQUEST_ID_BYTES)
    _check_size(kind, "request", request.ByteSize(), limits.MAX_PAYLOAD_BYTES)
    return request


def _json_text(data: Any) -> str:
    """Encode input with the workflow's own converter: its dataclasses and models work."""
    if data is None:
        return ""
    payload = workflow.payload_converter().to_payload(data)
    if payload.metadata.get("encoding") not in _JSON_ENCODINGS:
        raise TypeError(f"input of type {type(data).__name__} has no JSON form")
    return payload.data.decode()


def _check_size(kind: Kind, what: str, size: int, limit: int) -> None:
    if size > limit:
        raise refusal(kind, f"{what} is {size} bytes; the limit is {limit}", "TOO_LARGE")


def _malformed(kind: Kind, message: str) -> ExecutionError:
    return refusal(kind, message, "INVALID_ARGUMENT")


_A = {Kind.AGENT: "an agent", Kind.WORKFLOW: "a workflow"}
