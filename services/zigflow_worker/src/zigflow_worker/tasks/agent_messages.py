"""From a document's words to the messages of the agent API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, TypedDict, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from stigma.agent.v1.agent_execution_pb2 import SessionPolicy
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma.contracts import json_text
from zigflow_worker.definition import Node, NodeError
from zigflow_worker.definition.spelling import meant
from zigflow_worker.durations import seconds_of
from zigflow_worker.expressions import JSON, is_expression

M = TypeVar("M", bound=Message)

_DURATIONS = (
    *("timeout", "requestTimeout", "request_timeout"),
    *("delay", "chunkDelay", "chunk_delay"),
)
_SCHEMAS = ("outputSchema", "output_schema")
_SESSION_POLICY = "SESSION_POLICY_"

_WRAPPED = re.compile(r"(?:Failed to parse \w+ field: )+")
_UNKNOWN_FIELD = re.compile(r'has no field named "([^"]*)".*Available Fields[^\[]*\[([^\]]*)\]')
# Each wait is checked four times within it: shorter ones would cost many polls.
_LEAST_HEARTBEAT_TIMEOUT = timedelta(seconds=1)


class AgentRequest(TypedDict, total=False):
    """Arguments of `run_agent`."""

    agent: str
    message: str
    input: JSON
    spec: AgentSpec
    env: Mapping[str, str] | None
    config: AgentConfig
    session_id: str
    session_policy: SessionPolicy.ValueType
    labels: Mapping[str, str] | None
    timeout: timedelta
    heartbeat_timeout: timedelta
    partial_text: bool


def request_of(arguments: Mapping[str, Any], schema: JSON, *, floats: bool = True) -> AgentRequest:
    """Return the arguments of `run_agent` (raises ValueError).

    `floats`: take 20.0 for a whole number in durations, as 0.1.0 did not.
    """
    request: AgentRequest = {
        "agent": str(arguments.get("agent", "")),
        "message": text_of(arguments.get("message")),
        "input": arguments.get("input"),
        "env": texts_of(arguments.get("env")),
        "session_id": text_of(arguments.get("session")),
        "labels": texts_of(arguments.get("labels")),
    }
    if "spec" in arguments:
        request["spec"] = spec = spec_of(arguments["spec"], floats=floats)
        if schema is not None and not spec.output_schema:
            spec.output_schema = json_text.compact(schema)
    if "config" in arguments:
        request["config"] = config = config_of(arguments["config"], floats=floats)
        if config.HasField("timeout"):
            request["timeout"] = config.timeout.ToTimedelta()
    if "heartbeatTimeout" in arguments:
        heartbeat_timeout = heartbeat_timeout_of(arguments["heartbeatTimeout"], floats=floats)
        request["heartbeat_timeout"] = heartbeat_timeout
    if "sessionPolicy" in arguments:
        request["session_policy"] = session_policy_of(arguments["sessionPolicy"])
    if "partialText" in arguments:
        request["partial_text"] = partial_text_of(arguments["partialText"])
    return request


def check(arguments: Mapping[str, Node]) -> None:
    """Check what has a form of its own, where it has no expressions (raises NodeError)."""
    for name, read in _READERS.items():
        node = arguments.get(name)
        if node is None or _has_expression(node.value):
            continue
        with node.part():
            try:
                read(node.value)
            except ValueError as error:
                if node.mistakes is None or read not in (spec_of, config_of):
                    raise node.error(_problem_of(str(error))) from None
                for mistake in _mistakes_in(node, read, str(error)):
                    node.mistakes.add(mistake)


def _mistakes_in(
    node: Node,
    read: Callable[[JSON], object],
    problem: str,
    around: Callable[[JSON], JSON] = lambda value: value,
) -> Iterator[NodeError]:
    """Yield the mistakes of a value, each of the smallest part that has one by itself.

    Args:
        node: the value.
        read: raises ValueError for the first mistake of a whole.
        problem: what is wrong with the value.
        around: puts it into the whole.
    """
    nothing: JSON = {} if isinstance(node.value, dict) else []
    parts = _parts(node)
    if parts and _mistake_of(read, around(nothing)) is not None:
        parts = []  # wrong whatever is in it, such as the value of an unknown key
    found = False
    for part, inside in parts:
        inner = partial(_put, around, inside)
        if (mistake := _mistake_of(read, inner(part.value))) is not None:
            found = True
            yield from _mistakes_in(part, read, mistake, inner)
    if not found:
        yield node.error(_problem_of(problem))


def _mistake_of(read: Callable[[JSON], object], value: JSON) -> str | None:
    """Return the first mistake of a whole; None: it has none."""
    try:
        read(value)
    except ValueError as error:
        return str(error)
    return None


def _parts(node: Node) -> list[tuple[Node, Callable[[JSON], JSON]]]:
    """Return the parts of a map or list, and what makes a map or list of one of them alone."""
    if isinstance(node.value, dict):
        return [(part, partial(_in_map, key)) for key, part in node.mapping().items()]
    if isinstance(node.value, list):
        return [(part, _in_list) for part in node.items()]
    return []


def _put(around: Callable[[JSON], JSON], inside: Callable[[JSON], JSON], value: JSON) -> JSON:
    return around(inside(value))


def _in_map(key: str, value: JSON) -> JSON:
    return {key: value}


def _in_list(value: JSON) -> JSON:
    return [value]


def spec_of(value: JSON, *, floats: bool = True) -> AgentSpec:
    """Return an inline agent (raises ValueError)."""
    return _message_of(value, AgentSpec, floats=floats)


def config_of(value: JSON, *, floats: bool = True) -> AgentConfig:
    """Return what tightens an agent's settings (raises ValueError)."""
    return _message_of(value, AgentConfig, floats=floats)


def heartbeat_timeout_of(value: JSON, *, floats: bool = True) -> timedelta:
    """Return the time within which a lost worker or agent is noticed (raises ValueError)."""
    timeout = timedelta(seconds=seconds_of(value, floats=floats))
    if timeout < _LEAST_HEARTBEAT_TIMEOUT:
        raise ValueError("a heartbeat timeout must be at least 1 second")
    return timeout


def partial_text_of(value: JSON) -> bool:
    """Return whether watchers see what the model writes while it writes (raises ValueError)."""
    if not isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 - of data, as the other problems
            f"expected true or false, not {json.dumps(value)[:60]}"
        )
    return value


def session_policy_of(value: JSON) -> SessionPolicy.ValueType:
    """Return what is done while another turn of the session runs (raises ValueError)."""
    names = [name.removeprefix(_SESSION_POLICY) for name in SessionPolicy.keys()[1:]]
    if value not in names:
        raise ValueError(f"expected {', '.join(names)}, not {json.dumps(value)[:60]}")
    return SessionPolicy.Value(f"{_SESSION_POLICY}{value}")


_READERS: Mapping[str, Callable[[JSON], object]] = {
    "spec": spec_of,
    "config": config_of,
    "heartbeatTimeout": heartbeat_timeout_of,
    "sessionPolicy": session_policy_of,
    "partialText": partial_text_of,
}


def _message_of(value: JSON, message_type: type[M], *, floats: bool) -> M:
    """Return a message written with ISO 8601 durations and JSON schemas (raises ValueError)."""
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - of data, as the other problems
            f"expected a map, not {json.dumps(value)[:60]}"
        )
    try:
        return json_format.ParseDict(_translated(value, floats=floats), message_type())
    except json_format.ParseError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _problem_of(message: str) -> str:
    """Return protobuf's message without the path, which the document's own pointer tells."""
    line = _WRAPPED.sub("", " ".join(message.split()))
    if unknown := _UNKNOWN_FIELD.search(line):
        known = re.findall(r"\w+", unknown[2])
        hint = meant(unknown[1], known)
        return f"unknown key '{unknown[1]}'{hint}; allowed here: {', '.join(sorted(known))}"
    return line


def _translated(value: Any, key: str = "", *, floats: bool) -> Any:
    if isinstance(value, dict) and key not in _SCHEMAS:
        if key in _DURATIONS:
            return f"{seconds_of(value, floats=floats):.3f}s"
        translated = {name: _translated(item, name, floats=floats) for name, item in value.items()}
        if key == "limits" and "cost" in translated:
            translated["costUsd"] = translated.pop("cost")
        return translated
    if isinstance(value, list):
        return [_translated(item, floats=floats) for item in value]
    if key in _DURATIONS and isinstance(value, str):
        return f"{seconds_of(value, floats=floats):.3f}s"
    if key in _SCHEMAS and not isinstance(value, str):
        return json_text.compact(value)
    return value


def _has_expression(value: JSON) -> bool:
    if isinstance(value, dict):
        return any(map(_has_expression, value.values()))
    if isinstance(value, list):
        return any(map(_has_expression, value))
    return is_expression(value)


def text_of(value: JSON) -> str:
    """Return a string as it is, nothing as empty, and other data as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json_text.compact(value)


def texts_of(value: JSON) -> dict[str, str] | None:
    """Return a map of strings."""
    if not isinstance(value, dict):
        return None
    return {key: text_of(item) for key, item in value.items()}
