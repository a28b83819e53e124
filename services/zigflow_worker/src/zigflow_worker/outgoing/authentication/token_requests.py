"""Requests to a token endpoint (RFC 6749, 7523, 8693)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import quote_plus, urlencode

import jwt

from zigflow_worker import oauth2_rules
from zigflow_worker.outgoing.authentication.basic import basic_parameter
from zigflow_worker.outgoing.authentication.policies import ClientPolicy, OidcPolicy
from zigflow_worker.outgoing.messages import OutgoingRequest

Parameters: TypeAlias = dict[str, str | list[str]]

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60
"""Life of an assertion that is made here, for one request."""


def token_request(
    policy: OidcPolicy, endpoint: str, refresh_token: str | None = None
) -> OutgoingRequest:
    """Return the request for a token; `refresh_token` takes the place of the policy's."""
    parameters = _grant_parameters(policy, refresh_token)
    headers = [("Accept", "application/json"), ("Content-Type", policy.request.encoding)]
    client = policy.client
    if client.authentication == oauth2_rules.BASIC:
        headers.append(("Authorization", f"Basic {_basic_parameter(client)}"))
    else:
        parameters.update(_client_parameters(client, endpoint))
    return OutgoingRequest(
        method="POST",
        url=endpoint,
        headers=headers,
        body=_encoded(parameters, policy.request.encoding),
    )


def _grant_parameters(policy: OidcPolicy, refresh_token: str | None) -> Parameters:
    parameters: Parameters = {"grant_type": policy.grant}
    if policy.scopes:
        parameters["scope"] = " ".join(policy.scopes)
    if policy.audiences:
        audiences = policy.audiences
        parameters["audience"] = audiences[0] if len(audiences) == 1 else list(audiences)
    match policy.grant:
        case oauth2_rules.PASSWORD:
            parameters.update(username=policy.username or "", password=policy.password or "")
        case oauth2_rules.REFRESH_TOKEN:
            parameters["refresh_token"] = refresh_token or given_refresh_token(policy)
        case oauth2_rules.TOKEN_EXCHANGE:
            parameters.update(_exchanged(policy))
    return parameters


def given_refresh_token(policy: OidcPolicy) -> str:
    """Return the refresh token of a policy: that of its `subject`."""
    return policy.subject.token if policy.subject else ""


def _exchanged(policy: OidcPolicy) -> Mapping[str, str]:
    parties = {"subject": policy.subject, "actor": policy.actor}
    return {
        name: value
        for party, token in parties.items()
        if token is not None
        for name, value in ((f"{party}_token", token.token), (f"{party}_token_type", token.type))
    }


def _basic_parameter(client: ClientPolicy) -> str:
    return basic_parameter(quote_plus(client.id), quote_plus(client.secret or ""))


def _client_parameters(client: ClientPolicy, endpoint: str) -> Mapping[str, str]:
    parameters = {"client_id": client.id} if client.id else {}
    match client.authentication:
        case oauth2_rules.POST if client.secret is not None:
            parameters["client_secret"] = client.secret
        case oauth2_rules.SECRET_JWT | oauth2_rules.PRIVATE_KEY_JWT:
            parameters["client_assertion_type"] = _ASSERTION_TYPE
            parameters["client_assertion"] = client.assertion or _assertion(client, endpoint)
    return parameters


def _assertion(client: ClientPolicy, endpoint: str) -> str:
    now = int(time.time())
    claims = {
        "iss": client.id,
        "sub": client.id,
        "aud": endpoint,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "exp": now + _ASSERTION_SECONDS,
    }
    return jwt.encode(claims, client.secret or "", "HS256")


def _encoded(parameters: Parameters, encoding: str) -> bytes:
    if encoding == oauth2_rules.JSON_ENCODING:
        return json.dumps(parameters).encode()
    return urlencode(parameters, doseq=True).encode()
