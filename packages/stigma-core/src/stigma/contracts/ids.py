"""Execution ids."""

from __future__ import annotations

import hashlib

from stigma.contracts.executions import Kind


def execution_id(principal: str, namespace: str, request_id: str, kind: Kind = Kind.AGENT) -> str:
    """Return the id of the execution that `request_id` stands for.

    It is a hash, not a UUID, so that every replay of a request names the same execution; the
    principal is part of it, so that no request reaches another principal's execution by guessing.
    It is also the Temporal workflow id.
    """
    # Length prefixes: ("ab", "c") and ("a", "bc") must not meet.
    parts = (f"{len(part.encode())}:{part}" for part in (principal, namespace, request_id))
    return f"{kind}-" + hashlib.sha256("".join(parts).encode()).hexdigest()[:32]
