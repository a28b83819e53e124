"""Reads `document`, `evaluate`, `schedule` and `use`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from zigflow_worker.definition.authentications import read_policy
from zigflow_worker.definition.extensions import read_extensions
from zigflow_worker.definition.functions import read_function
from zigflow_worker.definition.model import DurationDefinition, RetryDefinition
from zigflow_worker.definition.nodes import Node
from zigflow_worker.definition.reader import Reader

_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
)
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
"""It names a file."""
_UNSUPPORTED = ("catalogs",)


def read_header(fields: Mapping[str, Node], reader: Reader) -> None:
    """Check everything but the tasks and `use`."""
    document = fields["document"].fields(
        *("dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"),
        required=["dsl", "namespace", "name", "version"],
    )
    for key, pattern, example in (
        ("dsl", _VERSION, "1.0.3"),
        ("namespace", _NAME, "default"),
        ("name", _NAME, "order-review"),
        ("version", _VERSION, "1.0.0"),
    ):
        if not pattern.fullmatch(document[key].text()):
            raise document[key].error(f"not a valid {key} such as '{example}'")
    if not document["dsl"].text().startswith("1."):
        raise document["dsl"].error("only version 1 of the language is supported")
    for key in ("tags", "metadata"):
        if key in document:
            reader.any_map(document[key])
    if "schedule" in fields:
        raise fields["schedule"].error("'schedule' is not supported in this release")
    if "evaluate" in fields:
        _read_evaluate(fields["evaluate"])


def _read_evaluate(node: Node) -> None:
    evaluate = node.fields("language", "mode")
    if "language" in evaluate and evaluate["language"].text() != "jq":
        raise evaluate["language"].error("only the expression language 'jq' is supported")
    if "mode" in evaluate and (mode := evaluate["mode"].text()) != "strict":
        known = f"the evaluation mode '{mode}' is not supported in this release"
        unknown = f"unknown evaluation mode '{mode}'"
        raise evaluate["mode"].error(f"{known if mode == 'loose' else unknown}: use 'strict'")


def read_reusables(node: Node | None, reader: Reader) -> dict[str, Any]:
    """Read `use`: what is defined by name, extensions, and the names of secrets."""
    if node is None:
        return {}
    fields = node.fields(
        *("authentications", "errors", "extensions", "functions", "retries", "secrets"),
        *("timeouts", *_UNSUPPORTED),
    )
    for name in _UNSUPPORTED:
        if name in fields:
            raise fields[name].error(f"'use.{name}' is not supported in this release")
    readers: dict[str, Callable[[str, Node], Any]] = {
        "authentications": lambda _, policy: read_policy(policy),
        "errors": lambda _, error: reader.error(error),
        "functions": lambda name, function: read_function(name, function, reader),
        "retries": lambda _, retry: read_retry(retry, reader),
        "timeouts": lambda _, timeout: _read_timeout(timeout, reader),
    }
    reusables: dict[str, Any] = {}
    if "secrets" in fields:
        reusables["secrets"] = _read_secrets(fields.pop("secrets"))
    if "extensions" in fields:
        reusables["extensions"] = read_extensions(fields.pop("extensions"), reader)
    for name, entries in fields.items():
        reusables[name] = {}
        for key, entry in entries.mapping().items():
            with reader.collecting_problems():
                reusables[name][key] = readers[name](key, entry)
    return reusables


def _read_secrets(node: Node) -> tuple[str, ...]:
    for item in node.items():
        if not _SECRET.fullmatch(item.text()) or item.text().endswith(".hosts"):
            raise item.error("not a valid name of a secret such as 'payment-api'")
    return tuple(item.text() for item in node.items())


def _read_timeout(node: Node, reader: Reader) -> DurationDefinition:
    return reader.duration(node.fields("after", required=["after"])["after"])


def read_retry(node: Node, reader: Reader) -> RetryDefinition:
    """Read a retry policy."""
    fields = node.fields("when", "exceptWhen", "delay", "backoff", "limit", "jitter")
    limit = fields["limit"].fields("attempt", "duration") if "limit" in fields else {}
    attempt = limit["attempt"].fields("count", "duration") if "attempt" in limit else {}
    attempts = attempt["count"].integer() if "count" in attempt else None
    if attempts is not None and attempts < 0:
        raise attempt["count"].error("must not be negative")
    return RetryDefinition(
        when=reader.expression(fields.get("when")),
        except_when=reader.expression(fields.get("exceptWhen")),
        delay=_optional_duration(fields.get("delay"), reader),
        backoff=_read_backoff(fields.get("backoff")),
        attempts=attempts,
        attempt_duration=_optional_duration(attempt.get("duration"), reader),
        duration=_optional_duration(limit.get("duration"), reader),
        jitter=_read_jitter(fields.get("jitter"), reader),
    )


def _optional_duration(node: Node | None, reader: Reader) -> DurationDefinition | None:
    return None if node is None else reader.duration(node)


def _read_backoff(node: Node | None) -> str:
    if node is None:
        return "constant"
    fields = node.fields("constant", "exponential", "linear")
    if len(fields) != 1:
        raise node.error("expected one of 'constant', 'exponential' and 'linear'")
    ((name, settings),) = fields.items()
    if settings.value is not None and settings.mapping():
        raise settings.error(f"'{name}' takes no settings")
    return name


def _read_jitter(
    node: Node | None, reader: Reader
) -> tuple[DurationDefinition, DurationDefinition] | None:
    if node is None:
        return None
    fields = node.fields("from", "to", required=["from", "to"])
    return reader.duration(fields["from"]), reader.duration(fields["to"])
