"""The audit log: who changed what, and who read what was said, never what that was.

Each is one event `audit` of the service's log, written when the answer is known.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

import structlog

from stigma_api.access.principals import Principal

# What names have. Whatever else is sent where a name belongs may be anything, a prompt included.
_NAME = re.compile(r"[A-Za-z0-9._@:/+=~-]{1,256}")


class Effect(StrEnum):
    """Effect of a request that is audited."""

    MUTATION = "mutation"
    READ = "read"
    """Of content: inputs, outputs, messages, questions, arguments and results of tools."""


class AuditLog:
    """Writes the events."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def write(
        self,
        principal: Principal,
        effect: Effect,
        method: str,
        resource: str,
        outcome: str,
        *,
        request_id: str = "",
        execution_id: str = "",
    ) -> None:
        """Write one event.

        Args:
            principal: who asked.
            effect: what was asked for.
            method: of gRPC, or of HTTP with the page's route.
            resource: what it was about, see `path`.
            outcome: name of a gRPC status code; only OK has changed or shown something.
            request_id: the request's idempotency key, if it has one.
            execution_id: of what was started.
        """
        ids = {"request_id": request_id, "execution_id": execution_id}
        self._log.info(
            "audit",
            principal=principal.name,
            effect=effect.value,
            method=method,
            resource=resource,
            outcome=outcome,
            **{name: shown(value) for name, value in ids.items() if value},
        )


def path(*parts: str) -> str:
    """Return the name of a resource, for instance `executions/agent-1/inputs/2-1`.

    Args:
        parts: collections and names in turn; a name that is empty ends it.
    """
    named: list[str] = []
    for collection, name in zip(parts[::2], parts[1::2], strict=True):
        named.append(collection)
        if not name:
            break
        named.append(shown(name))
    return "/".join(named)


def shown(name: str) -> str:
    """Return a name as it is, if it looks like one, else a fingerprint of it."""
    if _NAME.fullmatch(name):
        return name
    return f"sha256:{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:16]}"
