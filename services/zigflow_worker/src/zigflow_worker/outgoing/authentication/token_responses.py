"""Responses of token endpoints, and of the discovery of one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jwt

from zigflow_worker.errors import AUTHENTICATION, COMMUNICATION, WorkflowError
from zigflow_worker.outgoing.authentication.headers import host_of
from zigflow_worker.outgoing.authentication.policies import OidcPolicy
from zigflow_worker.outgoing.authentication.tokens import MARGIN_SECONDS, Fetched, Token
from zigflow_worker.outgoing.messages import OutgoingResponse

_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
"""Of characters that a header carries, and short enough to be kept by the thousand."""
_REFRESH_TOKEN = re.compile(r"[\x20-\x7e]{1,65536}")
"""Of the characters that RFC 6749 has for it."""
_TRY_LATER = (408, 429)
"""Statuses of a refusal that is none of the credentials."""
_ERROR_CODES = frozenset(
    (
        *("invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "invalid_target"),
        *("unauthorized_client", "unsupported_grant_type", "access_denied", "slow_down"),
    )
)
"""Error codes that are shown; anything else of the response might repeat a secret."""


def read_token(policy: OidcPolicy, response: OutgoingResponse) -> Fetched[Token]:
    """Return the token that an endpoint gave.

    Raises:
        WorkflowError: of type `authentication`, status 401, where it refused or the token does not
            serve; of type `communication`, with the response's status, where it failed, or 500,
            where the response is no JSON.
    """
    host = host_of(response.request.url)
    if response.status != 200:
        raise _refusal(response, host)
    answer = read_json(response, f"the token endpoint at '{host}'")
    token = answer.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise _unusable(host, "gave no access token")
    token_type = str(answer.get("token_type") or "Bearer").lower()
    if token_type not in ("bearer", "n_a"):
        raise _unusable(host, "gave a token of a type other than Bearer")
    claims = _claims_of(token) or _claims_of(answer.get("id_token"))
    if policy.issuers and claims.get("iss") not in policy.issuers:
        raise _unusable(host, "gave a token of an issuer that 'issuers' does not name")
    return Fetched(Token(token, _refresh_token(answer.get("refresh_token"))), _lifetime(answer))


def read_json(response: OutgoingResponse, source: str) -> Mapping[str, Any]:
    """Return the object that a response has; `source` names who sent it.

    Raises:
        WorkflowError: of type `communication`, status 500.
    """
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise WorkflowError.of(COMMUNICATION, f"{source} did not answer with a JSON object")
    return answer


def _refusal(response: OutgoingResponse, host: str) -> WorkflowError:
    status = response.status
    if status < 400 or status >= 500 or status in _TRY_LATER:
        message = f"the token endpoint at '{host}' answered with status {status}"
        return WorkflowError.of(COMMUNICATION, message).with_status(status)
    try:
        code = json.loads(response.body).get("error")
    except (ValueError, AttributeError, RecursionError):
        code = None
    known = isinstance(code, str) and code in _ERROR_CODES
    reason = f"{code}, status {status}" if known else f"status {status}"
    return _unusable(host, f"refused the request: {reason}")


def _unusable(host: str, message: str) -> WorkflowError:
    return WorkflowError.of(AUTHENTICATION, f"the token endpoint at '{host}' {message}")


def _claims_of(token: object) -> Mapping[str, Any]:
    """Return the claims of a JWT, empty for other tokens.

    No signature is checked: the token came from its endpoint, not by way of another party.
    """
    try:
        return jwt.decode(str(token), options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}


def _lifetime(answer: Mapping[str, Any]) -> float | None:
    try:
        seconds = float(answer["expires_in"]) - MARGIN_SECONDS
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def _refresh_token(value: object) -> str | None:
    return value if isinstance(value, str) and _REFRESH_TOKEN.fullmatch(value) else None
