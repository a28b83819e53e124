"""Reads `document`, `evaluate`, `schedule` and `use`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from zigflow_worker.definition.authentications import read_policy
from zigflow_worker.definition.extensions import read_extensions
from zigflow_worker.definition.functions import read_function
from zigflow_worker.definition.model import UNREAD, DurationDefinition, RetryDefinition
from zigflow_worker.definition.node_errors import ConsequenceError
from zigflow_worker.definition.nodes import Node
from zigflow_worker.definition.reader import Reader

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
)
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
"""It names a file."""
_COUNTS = ("attempts", "count", "maxAttempts", "max", "retries")
SECTIONS = frozenset(
    ("authentications", "errors", "extensions", "functions", "retries", "secrets", "timeouts")
)
_UNSUPPORTED = ("catalogs",)
JQ = "jq"


def read_header(fields: Mapping[str, Node], reader: Reader) -> None:
    """Check everything but the tasks and `use`."""
    with fields["document"].part():
        _read_identity(fields["document"], reader)
    if "schedule" in fields:
        with fields["schedule"].part():
            raise fields["schedule"].error("'schedule' is not supported in this release")
    if "evaluate" in fields:
        with fields["evaluate"].part():
            _read_evaluate(fields["evaluate"])


def _read_identity(node: Node, reader: Reader) -> None:
    document = node.fields(
        *("dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"),
        required=["dsl", "namespace", "name", "version"],
    )
    for key, pattern, example in (
        ("dsl", _VERSION, "three numbers such as '1.0.3'"),
        ("namespace", _NAME, "letters, digits and dashes, such as 'default'"),
        ("name", _NAME, "letters, digits and dashes, such as 'order-review'"),
        ("version", _VERSION, "three numbers such as '1.0.0'"),
    ):
        with node.part():
            if not pattern.fullmatch(document[key].text()):
                raise document[key].error(f"not a valid {key}: {example}")
    with node.part():
        dsl = document["dsl"].text()
        if _VERSION.fullmatch(dsl) and not dsl.startswith("1."):
            raise document["dsl"].error("only version 1 of the language is supported")
    for key in ("tags", "metadata"):
        if key in document:
            with node.part():
                reader.any_map(document[key])


def _read_evaluate(node: Node) -> None:
    evaluate = node.fields("language", "mode")
    with node.part():
        if "language" in evaluate and evaluate["language"].text() != JQ:
            raise evaluate["language"].error("only the expression language 'jq' is supported")
    with node.part():
        if "mode" in evaluate and (mode := evaluate["mode"].text()) != "strict":
            known = f"the evaluation mode '{mode}' is not supported in this release"
            unknown = f"unknown evaluation mode '{mode}'"
            raise evaluate["mode"].error(f"{known if mode == 'loose' else unknown}: use 'strict'")


def read_reusables(node: Node | None, reader: Reader) -> dict[str, Any]:
    """Read `use`: what is defined by name, extensions, and the names of secrets."""
    if node is None:
        return {}
    with node.part():
        return _read_sections(node, reader)
    return {"unread": SECTIONS}


def _read_sections(node: Node, reader: Reader) -> dict[str, Any]:
    fields = node.fields(*SECTIONS, *_UNSUPPORTED)
    for name in _UNSUPPORTED:
        if name in fields:
            with node.part():
                raise fields[name].error(f"'use.{name}' is not supported in this release")
    unread = {name for name in SECTIONS if (section := fields.get(name)) and section.is_unreadable}
    readers: dict[str, Callable[[str, Node], Any]] = {
        "authentications": lambda _, policy: read_policy(policy),
        "errors": lambda _, error: reader.error(error),
        "functions": lambda name, function: read_function(name, function, reader),
        "retries": lambda _, retry: read_retry(retry, reader),
        "timeouts": lambda _, timeout: _read_timeout(timeout, reader),
    }
    reusables: dict[str, Any] = {}
    first = [name for name in ("secrets", "extensions") if name in fields]
    for name in [*first, *(name for name in fields if name in readers)]:
        unread.add(name)
        with node.part():
            if name == "secrets":
                reusables[name] = _read_secrets(fields[name])
            elif name == "extensions":
                reusables[name] = read_extensions(fields[name], reader)
            else:
                reusables[name] = _read_entries(fields[name], readers[name], reader)
            unread.discard(name)
    return reusables | {"unread": frozenset(unread)}


def _read_entries(node: Node, read: Callable[[str, Node], Any], reader: Reader) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, entry in node.mapping().items():
        entries[key] = UNREAD
        with reader.collecting_problems():
            entries[key] = read(key, entry)
    return entries


def _read_secrets(node: Node) -> tuple[str, ...]:
    names = []
    for item in node.items():
        with node.part():
            names.append(item.text())
            if not _SECRET.fullmatch(item.text()) or item.text().endswith(".hosts"):
                raise item.error("not a valid name of a secret such as 'payment-api'")
    if len(names) < len(node.items()):
        raise ConsequenceError("names of secrets are not known", node.pointer)
    return tuple(names)


def _read_timeout(node: Node, reader: Reader) -> DurationDefinition:
    return reader.duration(
        node.fields("after", required=["after"], like="{after: PT30S}", inside="after")["after"]
    )


def read_retry(node: Node, reader: Reader) -> RetryDefinition:
    """Read a retry policy."""
    fields = node.fields(
        *("when", "exceptWhen", "delay", "backoff", "limit", "jitter"),
        like="{delay: PT1S, limit: {attempt: {count: 3}}}",
        elsewhere=dict.fromkeys(_COUNTS, "into 'limit': {attempt: {count: 3}}"),
    )
    limit = _optional_fields(
        fields.get("limit"), "attempt", "duration", like="{attempt: {count: 3}}"
    )
    attempt = _optional_fields(limit.get("attempt"), "count", "duration", like="{count: 3}")
    return RetryDefinition(
        when=reader.expression(fields.get("when")),
        except_when=reader.expression(fields.get("exceptWhen")),
        delay=reader.optional_duration(fields.get("delay")),
        backoff=_read_backoff(fields.get("backoff")),
        attempts=_read_attempts(attempt.get("count")),
        attempt_duration=reader.optional_duration(attempt.get("duration")),
        duration=reader.optional_duration(limit.get("duration")),
        jitter=_read_jitter(fields.get("jitter"), reader),
    )


def _optional_fields(node: Node | None, *allowed: str, like: str) -> Mapping[str, Node]:
    if node is not None:
        with node.part():
            return node.fields(*allowed, like=like)
    return {}


def _read_attempts(node: Node | None) -> int | None:
    attempts = None
    if node is not None:
        with node.part():
            attempts = node.integer()
            if attempts < 0:
                raise node.error("must not be negative")
    return attempts


def _read_backoff(node: Node | None) -> str:
    if node is not None:
        with node.part():
            fields = node.fields("constant", "exponential", "linear", like="{exponential: {}}")
            if len(fields) != 1:
                error = node.error("expected one of 'constant', 'exponential' and 'linear'")
                is_unknown = not fields and bool(node.value)
                raise ConsequenceError(error.message, node.pointer) if is_unknown else error
            for name, settings in fields.items():
                if settings.value is not None and settings.mapping():
                    raise settings.error(f"'{name}' takes no settings")
                return name
    return "constant"


def _read_jitter(
    node: Node | None, reader: Reader
) -> tuple[DurationDefinition, DurationDefinition] | None:
    low = high = None
    if node is not None:
        with node.part():
            fields = node.fields(
                "from", "to", required=["from", "to"], like="{from: PT0S, to: PT1S}"
            )
            low = reader.optional_duration(fields["from"])
            high = reader.optional_duration(fields["to"])
    return None if low is None or high is None else (low, high)
