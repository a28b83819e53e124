"""OAuth2 and OpenID Connect: tokens of an authority, sent as Bearer."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from typing_extensions import override

from zigflow_worker import oauth2_rules
from zigflow_worker.errors import AUTHENTICATION, WorkflowError, matches
from zigflow_worker.outgoing.authentication.headers import (
    host_of,
    request_refused,
    with_authorization,
)
from zigflow_worker.outgoing.authentication.policies import OidcPolicy, PolicySecrets
from zigflow_worker.outgoing.authentication.token_requests import (
    given_refresh_token,
    token_request,
)
from zigflow_worker.outgoing.authentication.token_responses import read_token
from zigflow_worker.outgoing.authentication.tokens import Fetched, Token, TokenCache
from zigflow_worker.outgoing.messages import (
    Authentication,
    HttpSender,
    OutgoingRequest,
    OutgoingResponse,
)

FindEndpoint: TypeAlias = Callable[[], Awaitable[str]]
"""Returns the URL of the token endpoint."""


class TokenAuthentication(Authentication):
    """Sends a token that the worker has, or fetches one; another one after a 401."""

    def __init__(
        self,
        policy: OidcPolicy,
        find_endpoint: FindEndpoint,
        secrets: PolicySecrets,
        sender: HttpSender,
        cache: TokenCache,
    ) -> None:
        self._policy = policy
        self._find_endpoint = find_endpoint
        self._secrets = secrets
        self._sender = sender
        self._cache = cache
        self._token: Token | None = None

    @override
    async def apply(self, request: OutgoingRequest) -> OutgoingRequest:
        return await self._authorized(request)

    @override
    async def answer(
        self, request: OutgoingRequest, response: OutgoingResponse
    ) -> OutgoingRequest | None:
        refused = request_refused(request, response)
        return None if refused is None else await self._authorized(refused)

    @property
    @override
    def authorization(self) -> dict[str, str]:
        return {"scheme": "Bearer", "parameter": self._token.value if self._token else ""}

    async def _authorized(self, request: OutgoingRequest) -> OutgoingRequest:
        endpoint = await self._find_endpoint()
        self._secrets.check_host(host_of(endpoint))

        async def fetch(before: Token | None) -> Fetched[Token]:
            return await self._fetch(endpoint, before)

        key = _key(endpoint, self._policy)
        self._token = await self._cache.tokens.get(key, fetch, refused=self._token)
        return with_authorization(request, self.authorization)

    async def _fetch(self, endpoint: str, before: Token | None) -> Fetched[Token]:
        rotated = before.refresh_token if before and self._refreshes else None
        if rotated is not None and rotated != given_refresh_token(self._policy):
            try:
                return await self._request(endpoint, rotated)
            except WorkflowError as error:
                if not matches(error.problem, {"type": AUTHENTICATION.uri}):
                    raise
        return await self._request(endpoint, None)

    @property
    def _refreshes(self) -> bool:
        grant: str = self._policy.grant
        return grant == oauth2_rules.REFRESH_TOKEN

    async def _request(self, endpoint: str, refresh_token: str | None) -> Fetched[Token]:
        request = token_request(self._policy, endpoint, refresh_token)
        return read_token(self._policy, await self._sender.send(request))


def endpoint_below(authority: str, path: str) -> str:
    """Return the token endpoint of an authority: its path appended, with one slash between."""
    return f"{authority.rstrip('/')}/{path.lstrip('/')}"


def _key(endpoint: str, policy: OidcPolicy) -> str:
    """Return a key that shows nothing: equal for equal policies and endpoints."""
    return hashlib.sha256(f"{endpoint}\n{policy.model_dump_json()}".encode()).hexdigest()
