"""Building start requests whose size Temporal and the API accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import workflow

from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts import limits
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from stigma_client.errors import not_started
from stigma_client.kinds import E, ExecutionKind, R

_JSON_ENCODINGS = (b"json/plain", b"json/protobuf")
_WITH_ARTICLE = {Kind.AGENT: "an agent", Kind.WORKFLOW: "a workflow"}


def start_request(
    of: ExecutionKind[R, E],
    build: Callable[..., R],
    *,
    name: str,
    spec: AgentSpec | WorkflowSpec | None,
    data: Any,
    request_id: str,
) -> R:
    """Build a request from a workflow's arguments.

    Args:
        of: the kind of execution that it starts.
        build: its constructor, with the fields that only this kind has bound.
        name: the definition to run; empty for an inline one.
        spec: the inline definition.
        data: the input, encoded with the workflow's own converter.
        request_id: idempotency key.

    Raises:
        ExecutionError: of this kind: something is malformed (INVALID_ARGUMENT), or larger than can
            be carried (TOO_LARGE): Temporal would terminate the workflow for it.
    """
    if bool(name) == (spec is not None):
        message = f"give either the name of {_WITH_ARTICLE[of.kind]} or a spec"
        raise not_started(of.kind, message, "INVALID_ARGUMENT")
    definition = {of.definition_id: name, "spec": spec}
    try:
        request = build(**definition, input_json=_json_text(data), request_id=request_id)
    except (TypeError, ValueError) as error:
        raise not_started(of.kind, str(error), "INVALID_ARGUMENT") from error
    sizes = (
        (of.text.name, of.text.read(request), of.text.max_bytes),
        ("input", request.input_json, limits.MAX_INPUT_BYTES),
        ("request_id", request.request_id, limits.MAX_REQUEST_ID_BYTES),
    )
    for field, text, limit in sizes:
        _check_size(of.kind, field, len(text.encode()), limit)
    _check_size(of.kind, "request", request.ByteSize(), limits.MAX_PAYLOAD_BYTES)
    return request


def _json_text(data: Any) -> str:
    """Encode input with the workflow's own converter: its dataclasses and models work."""
    if data is None:
        return ""
    payload = workflow.payload_converter().to_payload(data)
    if payload.metadata.get("encoding") not in _JSON_ENCODINGS:
        raise TypeError(f"input of type {type(data).__name__} has no JSON form")
    return payload.data.decode()


def _check_size(kind: Kind, field: str, size: int, limit: int) -> None:
    if size > limit:
        raise not_started(kind, f"{field} is {size} bytes; the limit is {limit}", "TOO_LARGE")
