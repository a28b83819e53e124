"""Credentials that no response changes."""

from __future__ import annotations

from typing_extensions import override

from zigflow_worker.outgoing.authentication.headers import host_of, with_authorization
from zigflow_worker.outgoing.authentication.policies import PolicySecrets
from zigflow_worker.outgoing.messages import Authentication, OutgoingRequest, OutgoingResponse


class ConstantAuthentication(Authentication):
    """Sends the same header with each request."""

    def __init__(self, scheme: str, parameter: str, secrets: PolicySecrets) -> None:
        self._authorization = {"scheme": scheme, "parameter": parameter}
        self._secrets = secrets

    @override
    async def apply(self, request: OutgoingRequest) -> OutgoingRequest:
        self._secrets.check_host(host_of(request.url))
        return with_authorization(request, self._authorization)

    @override
    async def answer(
        self, request: OutgoingRequest, response: OutgoingResponse
    ) -> OutgoingRequest | None:
        return None

    @property
    @override
    def authorization(self) -> dict[str, str]:
        return self._authorization
