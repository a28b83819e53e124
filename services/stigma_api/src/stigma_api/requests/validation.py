"""The rules of every request: explicit checks, each with the path of its field.

Checks that need more than the request (permissions, the definition, the namespace) are elsewhere;
only `check_overrides` sees the definition as well.
"""

from __future__ import annotations

import json
import re

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec, CallbackPayload, SessionPolicy
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    CancelMode,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts import limits
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api import errors
from stigma_api.kinds import CancelRequest, ExecutionSpec, StartRequest
from stigma_api.requests import definition_rules
from stigma_api.requests.violations import Violations, is_name, parse_json
from stigma_api.temporal.calls import MAX_ID_BYTES

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def name_and_version(field: str, value: str) -> tuple[str, int | None]:
    """Return name and version of "name" or "name@version"."""
    found = Violations()
    named = found.definition_id(field, value)
    found.raise_if_any()
    return named


def page_size(size: int) -> int:
    """Return the number of items on a page, the default one for 0."""
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise errors.invalid_argument([("page_size", f"must be from 0 to {MAX_PAGE_SIZE}")])
    return size or DEFAULT_PAGE_SIZE


def definitions_page(token: str) -> str:
    """Return the name that a page of definitions comes after, "" for the first page."""
    if token and not is_name(token):
        raise errors.invalid_argument([("page_token", "is not a token of this list")])
    return token


def check_agent(value: Agent) -> None:
    """Check an agent to be registered."""
    found = Violations()
    _definition(found, "agent", value)
    definition_rules.check_agent_spec(found, "agent.spec", value.spec)
    found.raise_if_any()


def check_workflow(value: Workflow) -> None:
    """Check a workflow to be registered, its document's content aside."""
    found = Violations()
    _definition(found, "workflow", value)
    definition_rules.check_workflow_spec(found, "workflow.spec", value.spec)
    found.raise_if_any()


def check_start(request: StartRequest) -> None:
    """Check the part of a start request that needs no definition."""
    found = Violations()
    inline = request.HasField("spec")
    if isinstance(request, StartAgentRequest):
        found.require(bool(request.agent_id) != inline, "agent_id", "give either agent_id or spec")
        definition_rules.check_agent_start(found, request)
        if inline:
            definition_rules.check_agent_spec(found, "spec", request.spec)
    else:
        given = bool(request.workflow_id)
        found.require(given != inline, "workflow_id", "give either workflow_id or spec")
        definition_rules.check_workflow_start(found, request)
        if inline:
            definition_rules.check_workflow_spec(found, "spec", request.spec)
    _start(found, request)
    found.raise_if_any()


def check_cancel(request: CancelRequest) -> None:
    """Check a cancel request."""
    found = Violations()
    found.require(
        bool(request.id) != bool(request.request_id), "id", "give either id or request_id"
    )
    found.size("reason", request.reason, limits.MAX_REASON_BYTES)
    if isinstance(request, CancelAgentExecutionRequest):
        known = request.mode in CancelMode.values()
        found.require(known, "mode", "is not known to this release")
    found.raise_if_any()


def check_session_id(session_id: str) -> None:
    """Check the id of a session that is asked for."""
    found = Violations()
    found.require(bool(session_id), "id", "must be given")
    found.size("id", session_id, limits.MAX_LABEL_BYTES)
    found.raise_if_any()


def check_overrides(spec: ExecutionSpec) -> None:
    """Check that a request tightens its definition and loosens nothing."""
    found = Violations()
    if isinstance(spec, AgentExecutionSpec):
        definition_rules.check_agent_overrides(found, spec.agent, spec.config, spec.env)
        takes_turns = not spec.agent.HasField("runtime") or not spec.session_policy
        found.require(takes_turns, "session_policy", "is for no agent with a runtime of its own")
    else:
        definition_rules.check_workflow_overrides(found, spec.workflow, spec.config)
    found.raise_if_any()


def _definition(found: Violations, at: str, value: Agent | Workflow) -> None:
    found.require(
        is_name(value.name),
        f"{at}.name",
        "must be 1 to 63 lower-case letters, digits and dashes, not at its ends",
    )
    found.labels(f"{at}.labels", value.labels)


def _start(found: Violations, request: StartRequest) -> None:
    found.size("callback_token", request.callback_token, limits.MAX_TOKEN_BYTES)
    found.size("input_json", request.input_json, limits.MAX_INPUT_BYTES)
    if request.input_json:
        _, problem = parse_json(request.input_json)
        found.require(not problem, "input_json", problem)
    found.size("session_id", request.session_id, limits.MAX_LABEL_BYTES)
    found.quotable("session_id", request.session_id)
    if isinstance(request, StartAgentRequest):
        policy = request.session_policy
        known = policy in SessionPolicy.values()
        found.require(known, "session_policy", "is not known to this release")
        found.require(
            not policy or bool(request.session_id), "session_policy", "is for a start in a session"
        )
    found.size("request_id", request.request_id, limits.MAX_REQUEST_ID_BYTES)
    printable = not _UNPRINTABLE.search(request.request_id)
    found.require(printable, "request_id", "has control characters")
    found.labels("labels", request.labels)
    # As the search attribute that they become.
    size = len(json.dumps([f"{key}={value}" for key, value in request.labels.items()]))
    fine = size <= limits.MAX_LABELS_BYTES
    found.require(fine, "labels", f"have {size} bytes, the limit is {limits.MAX_LABELS_BYTES}")
    _caller(found, request)


def _caller(found: Violations, request: StartRequest) -> None:
    for part in ("namespace", "workflow_id", "run_id", "activity_id"):
        found.size(f"caller.{part}", getattr(request.caller, part), MAX_ID_BYTES)
    found.duration("caller.heartbeat_timeout", request.caller, "heartbeat_timeout")
    # Both kinds' own enums have the same numbers.
    known = request.callback_payload in CallbackPayload.values()
    found.require(known, "callback_payload", "is not known to this release")
    if request.HasField("callback_deadline"):
        deadline = request.callback_deadline
        fine = -62_135_596_800 <= deadline.seconds <= 253_402_300_799
        fine = fine and 0 <= deadline.nanos < 10**9
        found.require(fine, "callback_deadline", "is not a time")
