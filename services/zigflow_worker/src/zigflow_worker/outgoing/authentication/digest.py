"""Digest authentication (RFC 7616), qop `auth`."""

from __future__ import annotations

import re

import httpx2
from typing_extensions import override

from zigflow_worker.errors import AUTHENTICATION, WorkflowError
from zigflow_worker.outgoing.authentication.headers import (
    host_of,
    request_refused,
    with_authorization,
)
from zigflow_worker.outgoing.authentication.policies import DigestPolicy, PolicySecrets
from zigflow_worker.outgoing.messages import Authentication, OutgoingRequest, OutgoingResponse

_CHALLENGE = re.compile(r"(?:^|,\s*)(digest\s.*)", re.IGNORECASE)
_ALGORITHM = re.compile(r'\balgorithm\s*=\s*"?([^",\s]+)', re.IGNORECASE)
_ALGORITHMS = ("SHA-256", "SHA-256-SESS", "MD5", "MD5-SESS")
"""The algorithms, the best first."""


class DigestAuthentication(Authentication):
    """Answers the server's challenge; the first request goes without credentials."""

    def __init__(self, policy: DigestPolicy, secrets: PolicySecrets) -> None:
        self._policy = policy
        self._secrets = secrets
        self._parameter = ""

    @override
    async def apply(self, request: OutgoingRequest) -> OutgoingRequest:
        self._secrets.check_host(host_of(request.url))
        return request

    @override
    async def answer(
        self, request: OutgoingRequest, response: OutgoingResponse
    ) -> OutgoingRequest | None:
        refused = request_refused(request, response)
        challenge = _best_challenge(response)
        if refused is None or challenge is None:
            return None
        self._parameter = self._digest(refused, challenge)
        return with_authorization(refused, self.authorization)

    @property
    @override
    def authorization(self) -> dict[str, str]:
        return {"scheme": "Digest", "parameter": self._parameter}

    def _digest(self, request: OutgoingRequest, challenge: str) -> str:
        sent = httpx2.Request(request.method, request.url)
        flow = httpx2.DigestAuth(self._policy.username, self._policy.password).auth_flow(sent)
        next(flow)
        headers = {"WWW-Authenticate": challenge}
        try:
            answer = flow.send(httpx2.Response(401, headers=headers, request=sent))
        except (httpx2.ProtocolError, NotImplementedError, ValueError):
            message = "the server's digest challenge cannot be answered"
            raise WorkflowError.of(AUTHENTICATION, message) from None
        return answer.headers["Authorization"].partition(" ")[2]


def _best_challenge(response: OutgoingResponse) -> str | None:
    challenges = [
        found[1]
        for name, value in response.headers
        if name.lower() == "www-authenticate" and (found := _CHALLENGE.search(value))
    ]
    known = [challenge for challenge in challenges if _algorithm_of(challenge) in _ALGORITHMS]
    if challenges and not known:
        raise WorkflowError.of(AUTHENTICATION, "the server's digest is of no algorithm known here")
    return min(known, key=lambda one: _ALGORITHMS.index(_algorithm_of(one)), default=None)


def _algorithm_of(challenge: str) -> str:
    found = _ALGORITHM.search(challenge)
    return found[1].upper() if found else "MD5"
