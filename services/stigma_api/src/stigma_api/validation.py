"""The rules of every request: explicit checks, each naming the field it is about.

Rules that need more than the request (permissions, the agent, the namespace) are elsewhere; only
`tightens` sees the agent as well.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import timedelta

import jsonschema_rs
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from stigma.agent.v1.agent_execution_pb2 import CallbackPayload
from stigma.agent.v1.agent_execution_service_pb2 import (
    CancelAgentExecutionRequest,
    StartAgentRequest,
)
from stigma.agent.v1.agent_pb2 import Agent, AgentConfig, AgentLimits, AgentSpec, FailureReason
from stigma.contracts import configuration, limits
from stigma_api import status

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50
MAX_VERSION = 2**63 - 1
MAX_ID_BYTES = 1000

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MODEL = re.compile(r"[A-Za-z0-9_.-]+:[^\s\x00-\x1f\x7f]+")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
# What no filter could name: see `filters`.
_UNQUOTABLE = re.compile(r"""["'\\\x00-\x1f\x7f]""")
_MAX_INSTRUCTIONS_BYTES = 256 * 1024
_MAX_SPEC_BYTES = 512 * 1024
_MAX_DESCRIPTION_BYTES = 4 * 1024
_MAX_ENV_VALUE_BYTES = 32 * 1024
_MAX_MODELS = 64
# It is a metric's label and part of every model call.
_MAX_MODEL_BYTES = 255
_LONGEST = timedelta(days=3650)
_LONGEST_PROBLEM = 500


class Violations:
    """What is wrong with a request, by field path."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, field: str, description: str) -> None:
        """Note one thing that is wrong."""
        self._found.append((field, description))

    def unless(self, fine: object, field: str, description: str) -> None:
        """Note it unless it is fine."""
        if not fine:
            self.add(field, description)

    def size(self, field: str, value: str | bytes, limit: int) -> None:
        """Note a value that has more bytes than allowed."""
        size = len(value.encode()) if isinstance(value, str) else len(value)
        self.unless(size <= limit, field, f"has {size} bytes, the limit is {limit}")

    def raise_if_any(self) -> None:
        """Raise INVALID_ARGUMENT with BadRequest details if anything was noted."""
        if self._found:
            raise status.invalid(self._found)


def agent_id(field: str, value: str) -> tuple[str, int | None]:
    """Return name and version of "name" or "name@version"."""
    name, at, version = value.partition("@")
    found = Violations()
    found.unless(
        _NAME.fullmatch(name),
        field,
        "an agent's name is 1 to 63 lower-case letters, digits and dashes, not at its ends",
    )
    number = int(version) if re.fullmatch(r"[1-9][0-9]{0,18}", version) else None
    fine = not at or (number is not None and number <= MAX_VERSION)
    found.unless(fine, field, "a version is a number from 1 on, as in name@3")
    found.raise_if_any()
    return name, number


def page_size(size: int) -> int:
    """Return how many items a page has."""
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise status.invalid([("page_size", f"must be from 0 to {MAX_PAGE_SIZE}")])
    return size or DEFAULT_PAGE_SIZE


def agents_page(token: str) -> str:
    """Return the name that a page of agents comes after, "" for the first page."""
    if token and not _NAME.fullmatch(token):
        raise status.invalid([("page_token", "is not a token of this list")])
    return token


def agent(value: Agent) -> None:
    """Check an agent to be registered."""
    found = Violations()
    found.unless(
        _NAME.fullmatch(value.name),
        "agent.name",
        "must be 1 to 63 lower-case letters, digits and dashes, not at its ends",
    )
    _labels(found, "agent.labels", value.labels)
    _spec(found, "agent.spec", value.spec)
    found.raise_if_any()


def start(request: StartAgentRequest) -> None:
    """Check a start request, as far as it can be checked without the agent."""
    found = Violations()
    inline = request.HasField("spec")
    found.unless(bool(request.agent_id) != inline, "agent_id", "give either agent_id or spec")
    found.size("callback_token", request.callback_token, limits.MAX_TOKEN_BYTES)
    found.size("message", request.message, limits.MAX_MESSAGE_BYTES)
    found.size("input_json", request.input_json, limits.MAX_INPUT_BYTES)
    if request.input_json:
        _, problem = _parse(request.input_json)
        found.unless(not problem, "input_json", problem)
    _env(found, request.env)
    _config(found, request.config)
    found.size("session_id", request.session_id, limits.MAX_LABEL_BYTES)
    _quotable(found, "session_id", request.session_id)
    found.size("request_id", request.request_id, limits.MAX_REQUEST_ID_BYTES)
    printable = not _UNPRINTABLE.search(request.request_id)
    found.unless(printable, "request_id", "has control characters")
    _labels(found, "labels", request.labels)
    # As the search attribute that they become.
    size = len(json.dumps([f"{key}={value}" for key, value in request.labels.items()]))
    fine = size <= limits.MAX_LABELS_BYTES
    found.unless(fine, "labels", f"have {size} bytes, the limit is {limits.MAX_LABELS_BYTES}")
    for part in ("namespace", "workflow_id", "run_id", "activity_id"):
        found.size(f"caller.{part}", getattr(request.caller, part), MAX_ID_BYTES)
    _duration(found, "caller.heartbeat_timeout", request.caller, "heartbeat_timeout")
    known = request.callback_payload in CallbackPayload.values()
    found.unless(known, "callback_payload", "is not known to this release")
    if request.HasField("callback_deadline"):
        deadline = request.callback_deadline
        fine = -62_135_596_800 <= deadline.seconds <= 253_402_300_799
        fine = fine and 0 <= deadline.nanos < 10**9
        found.unless(fine, "callback_deadline", "is not a time")
    if inline:
        _spec(found, "spec", request.spec)
    found.raise_if_any()


def cancel(request: CancelAgentExecutionRequest) -> None:
    """Check a cancel request."""
    found = Violations()
    found.unless(bool(request.id) != bool(request.request_id), "id", "give either id or request_id")
    found.size("reason", request.reason, limits.MAX_REASON_BYTES)
    found.raise_if_any()


def tightens(agent: AgentSpec, config: AgentConfig, env: Mapping[str, str]) -> None:
    """Check that a start request stays within its agent."""
    found = Violations()
    for name in env:
        found.unless(name in agent.env, f"env.{name}", "the agent does not allow this name")
    models = {"", agent.model, *agent.allowed_models}
    found.unless(config.model in models, "config.model", "the agent does not allow this model")
    if agent.limits.HasField("timeout"):
        ours = agent.limits.timeout.ToTimedelta()
        for field, theirs in (
            ("config.timeout", config.timeout),
            ("config.limits.timeout", config.limits.timeout),
        ):
            fine = theirs.ToTimedelta() <= ours
            found.unless(fine, field, f"the agent's limit is {ours.total_seconds():g} s")
    for what in ("steps", "tokens", "cost_usd"):
        limit = getattr(agent.limits, what)
        fine = not limit or getattr(config.limits, what) <= limit
        found.unless(fine, f"config.limits.{what}", f"the agent's limit is {limit:g}")
    found.raise_if_any()


def _spec(found: Violations, at: str, spec: AgentSpec) -> None:
    _model(found, f"{at}.model", spec.model)
    found.unless(
        len(spec.allowed_models) <= _MAX_MODELS, f"{at}.allowed_models", f"at most {_MAX_MODELS}"
    )
    for index, model in enumerate(spec.allowed_models):
        _model(found, f"{at}.allowed_models[{index}]", model)
    found.size(f"{at}.description", spec.description, _MAX_DESCRIPTION_BYTES)
    found.size(f"{at}.instructions", spec.instructions, _MAX_INSTRUCTIONS_BYTES)
    size = spec.ByteSize()
    fine = size <= _MAX_SPEC_BYTES
    found.unless(fine, at, f"has {size} bytes, the limit is {_MAX_SPEC_BYTES}")
    if spec.output_schema and fine:
        problem = _schema_problem(spec.output_schema)
        found.unless(not problem, f"{at}.output_schema", problem)
    _limits(found, f"{at}.limits", spec.limits)
    _settings(found, f"{at}.model_settings", spec)
    found.unless(len(spec.env) <= limits.MAX_ENV, f"{at}.env", f"at most {limits.MAX_ENV} names")
    for index, name in enumerate(spec.env):
        found.unless(
            _ENV_NAME.fullmatch(name),
            f"{at}.env[{index}]",
            "must be letters, digits and _, at most 64",
        )
    _script(found, at, spec)


def _model(found: Violations, at: str, model: str) -> None:
    if not _MODEL.fullmatch(model):
        found.add(at, 'must be "provider:model", as in "openai:gpt-5"')
    else:
        found.size(at, model, _MAX_MODEL_BYTES)


def _settings(found: Violations, at: str, spec: AgentSpec) -> None:
    settings = spec.model_settings
    _temperature(found, f"{at}.temperature", settings.temperature)
    found.unless(0 <= settings.top_p <= 1, f"{at}.top_p", "must be from 0 to 1")
    fine = not settings.HasField("max_tokens") or settings.max_tokens > 0
    found.unless(fine, f"{at}.max_tokens", "must be positive")
    _duration(found, f"{at}.request_timeout", settings, "request_timeout")


def _script(found: Violations, at: str, spec: AgentSpec) -> None:
    if not spec.HasField("script"):
        return
    models = (spec.model, *spec.allowed_models)
    scripted = any(configuration.provider(m) == configuration.SCRIPTED_PROVIDER for m in models)
    found.unless(scripted, f"{at}.script", 'is only for models of provider "scripted"')
    for index, step in enumerate(spec.script.steps):
        here = f"{at}.script.steps[{index}]"
        _duration(found, f"{here}.delay", step, "delay", positive=False)
        if step.HasField("failure"):
            fine = step.failure.reason in FailureReason.values() and step.failure.reason
            found.unless(fine, f"{here}.failure.reason", "must name a failure reason")
            found.unless(
                step.failure.attempts >= 0, f"{here}.failure.attempts", "must not be negative"
            )


def _config(found: Violations, config: AgentConfig) -> None:
    if config.model:
        _model(found, "config.model", config.model)
    _duration(found, "config.timeout", config, "timeout")
    _temperature(found, "config.temperature", config.temperature)
    _limits(found, "config.limits", config.limits)


def _limits(found: Violations, at: str, value: AgentLimits) -> None:
    _duration(found, f"{at}.timeout", value, "timeout")
    found.unless(
        0 <= value.steps <= limits.MAX_STEPS, f"{at}.steps", f"must be from 0 to {limits.MAX_STEPS}"
    )
    found.unless(value.tokens >= 0, f"{at}.tokens", "must not be negative")
    fine = value.cost_usd >= 0 and math.isfinite(value.cost_usd)
    found.unless(fine, f"{at}.cost_usd", "must not be negative")


def _duration(
    found: Violations, at: str, parent: Message, name: str, *, positive: bool = True
) -> None:
    if not parent.HasField(name):
        return
    value: Duration = getattr(parent, name)
    # As integers first: a malformed Duration cannot be converted.
    fine = abs(value.seconds) <= _LONGEST.total_seconds() and abs(value.nanos) < 10**9
    sign = (value.seconds or value.nanos) if fine else 0
    fine = fine and (sign > 0 if positive else sign >= 0) and value.nanos * value.seconds >= 0
    kind = "positive" if positive else "zero or positive"
    found.unless(fine, at, f"must be {kind}, and at most {_LONGEST.days} days")


def _temperature(found: Violations, at: str, value: float) -> None:
    found.unless(value >= 0 and math.isfinite(value), at, "must not be negative")


def _env(found: Violations, env: Mapping[str, str]) -> None:
    found.unless(len(env) <= limits.MAX_ENV, "env", f"at most {limits.MAX_ENV} variables")
    for name, value in env.items():
        fine = _ENV_NAME.fullmatch(name)
        found.unless(fine, "env", "names must be letters, digits and _, at most 64")
        if fine:
            found.size(f"env.{name}", value, _MAX_ENV_VALUE_BYTES)


def _labels(found: Violations, at: str, labels: Mapping[str, str]) -> None:
    fine = len(labels) <= limits.MAX_LABELS
    found.unless(fine, at, f"has {len(labels)} labels, the limit is {limits.MAX_LABELS}")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            found.add(at, "keys must be letters, digits, dots, dashes, slashes and underscores")
            continue
        found.size(f"{at}.{key}", f"{key}={value}", limits.MAX_LABEL_BYTES)
        _quotable(found, f"{at}.{key}", value)


def _quotable(found: Violations, at: str, value: str) -> None:
    fine = not _UNQUOTABLE.search(value)
    found.unless(fine, at, "has quotes, apostrophes, backslashes or control characters")


def _parse(text: str) -> tuple[object, str]:
    """Return the JSON value and "", or what is wrong with the text."""
    try:
        return json.loads(text, parse_constant=_refuse_constant), ""
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        return None, f"is not JSON: {error.msg} at {at}"
    except RecursionError:
        return None, "is not JSON that can be read: nested too deeply"
    except ValueError:
        return None, "is not JSON that can be read: a number is not finite or too long"


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _schema_problem(text: str) -> str:
    schema, problem = _parse(text)
    if problem:
        return problem
    if not isinstance(schema, dict):
        return "must be a JSON object"
    if not _refers_inside(schema):
        return "may refer only to itself: every $ref starts with #"
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(part) for part in error.instance_path)
        return f"is not a JSON Schema: {error.message} at /{place}"[:_LONGEST_PROBLEM]
    except (jsonschema_rs.ReferencingError, ValueError):
        return "is not a JSON Schema: its $schema is not known"
    return ""


def _refers_inside(schema: object) -> bool:
    """Whether nothing must be fetched from elsewhere to use the schema."""
    if isinstance(schema, dict):
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            reference = schema.get(key)
            if isinstance(reference, str) and not reference.startswith("#"):
                return False
        return all(_refers_inside(value) for value in schema.values())
    if isinstance(schema, list):
        return all(_refers_inside(value) for value in schema)
    return True
