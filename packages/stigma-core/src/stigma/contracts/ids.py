"""Ids of executions and sessions."""

from __future__ import annotations

import hashlib

from stigma.contracts.executions import Kind


def execution_id(principal: str, namespace: str, request_id: str, kind: Kind = Kind.AGENT) -> str:
    """Return the id of the execution that `request_id` stands for.

    It is a hash, not a UUID, so that every replay of a request names the same execution; the
    principal is part of it, so that no request reaches another principal's execution by guessing.
    It is also the Temporal workflow id.
    """
    return f"{kind}-{_hash(principal, namespace, request_id)}"


def session_workflow_id(principal: str, namespace: str, session_id: str) -> str:
    """Return the Temporal workflow id of a principal's session.

    The principal is part of it: the same id of another principal is another session.
    """
    return f"session-{_hash(principal, namespace, session_id)}"


def _hash(*parts: str) -> str:
    # Length prefixes: ("ab", "c") and ("a", "bc") must not meet.
    content = "".join(f"{len(part.encode())}:{part}" for part in parts)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
