"""Temporal task tokens: the fields that Stigma reads, and their fingerprint."""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from stigma.internal.v1.task_token_pb2 import TaskToken

FINGERPRINT_LENGTH = 12


class InvalidTokenError(ValueError):
    """The bytes are not a Temporal activity task token. The message never contains them."""


def parse(token: bytes) -> TaskToken:
    """Read a task token.

    Raises:
        InvalidTokenError: the bytes are not one. A forged one that parses is not detected: a token
            is an address, not a credential.
    """
    try:
        parsed = TaskToken.FromString(token)
    except DecodeError:
        raise InvalidTokenError("not a Temporal task token") from None
    if not (parsed.namespace_id and parsed.workflow_id and parsed.run_id):
        raise InvalidTokenError("not the task token of a workflow's activity")
    return parsed


def fingerprint(token: bytes) -> str:
    """Return the first 12 hex digits of the token's SHA-256, or "" for no token.

    A prefix of the token itself would be the same for every token: it is the namespace's id.
    """
    return hashlib.sha256(token).hexdigest()[:FINGERPRINT_LENGTH] if token else ""


def request_id(token: TaskToken) -> str:
    """Return an idempotency key for callers that send none: equal for all attempts."""
    return f"token:{token.workflow_id}:{token.run_id}:{token.scheduled_event_id}"
