"""Building start requests whose size Temporal and the API accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio import workflow

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma.contracts import limits
from stigma_client.errors import AgentExecutionFailed

_JSON_ENCODINGS = (b"json/plain", b"json/protobuf")


def start_request(
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
    if bool(agent_id) == (spec is not None):
        raise _malformed("give either the name of an agent or a spec")
    try:
        request = StartAgentRequest(
            agent_id=agent_id,
            spec=spec,
            message=message,
            input_json=_json_text(data),
            env=env,
            config=config,
            session_id=session_id,
            labels=labels,
            request_id=request_id,
        )
    except (TypeError, ValueError) as error:
        raise _malformed(str(error)) from error
    _check_size("message", len(request.message.encode()), limits.MAX_MESSAGE_BYTES)
    _check_size("input", len(request.input_json.encode()), limits.MAX_INPUT_BYTES)
    _check_size("request_id", len(request.request_id.encode()), limits.MAX_REQUEST_ID_BYTES)
    _check_size("request", request.ByteSize(), limits.MAX_PAYLOAD_BYTES)
    return request


def _json_text(data: Any) -> str:
    """Encode input with the workflow's own converter: its dataclasses and models work."""
    if data is None:
        return ""
    payload = workflow.payload_converter().to_payload(data)
    if payload.metadata.get("encoding") not in _JSON_ENCODINGS:
        raise TypeError(f"input of type {type(data).__name__} has no JSON form")
    return payload.data.decode()


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise AgentExecutionFailed(
            f"{what} is {size} bytes; the limit is {limit}",
            reason="TOO_LARGE",
            step="start_agent",
        )


def _malformed(message: str) -> AgentExecutionFailed:
    return AgentExecutionFailed(message, reason="INVALID_ARGUMENT", step="start_agent")
