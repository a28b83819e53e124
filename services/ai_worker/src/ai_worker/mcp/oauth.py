"""Access tokens for MCP servers: OAuth's client credentials grant.

The `mcp` client's own provider holds a lock while a request is answered: calls of one connection
would wait for each other. It also takes a token only after a request without one was refused. So
only its discovery is used here; tokens belong to the server, and outlive its connections.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import math
import re
import time
from typing import Any
from urllib.parse import quote

import httpx2
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    create_oauth_metadata_request,
    handle_auth_metadata_response,
    issuers_match,
)

from ai_worker.mcp.bodies import json_object, read_body
from ai_worker.mcp.failures import NotSentError, RefusedError
from ai_worker.mcp_resources import OAuthClient

_SECONDS = 20.0
_MAX_BYTES = 256 * 1024
# Time before its expiry at which a token is fetched anew, at most; of a short-lived one a tenth.
_MARGIN_SECONDS = 60.0
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LATER = frozenset((408, 429))
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


class AccessTokens:
    """The access token of one server: fetched when it is needed, once for all who wait for it."""

    def __init__(self, client: OAuthClient) -> None:
        """`client`: which the authorization server knows."""
        self._client = client
        self._token = ""
        self._expires = -math.inf
        self._fetching: asyncio.Task[str] | None = None

    async def token(self, rejected: str = "") -> str:
        """Return a token.

        Args:
            rejected: a token that the server did not take; another one is returned.

        Raises:
            NotSentError: there is none now.
            RefusedError: the authorization server gives none.
        """
        if self._token and self._token != rejected and time.monotonic() < self._expires:
            return self._token
        if self._fetching is None:
            # Not in the context of the call that needs it first, and not cancelled with it.
            self._fetching = asyncio.create_task(self._fetch(), context=contextvars.Context())
            self._fetching.add_done_callback(self._fetched)
        return await asyncio.shield(self._fetching)

    async def close(self) -> None:
        """Fetch nothing any more."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    def _fetched(self, task: asyncio.Task[str]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # known, also if nobody waits any more

    async def _fetch(self) -> str:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_SECONDS), httpx2.AsyncClient() as http:
                url = self._client.token_url or await self._discover(http)
                answer = await self._answer(http, url)
        except (TimeoutError, httpx2.HTTPError):
            raise NotSentError("The authorization server does not answer.") from None
        lifetime = answer.get("expires_in")
        # Without one it is used until the server does not take it any more.
        seconds = float(lifetime) if isinstance(lifetime, int | float) else math.inf
        self._token = str(answer["access_token"])
        self._expires = began + seconds - min(_MARGIN_SECONDS, seconds / 10)
        return self._token

    async def _discover(self, http: httpx2.AsyncClient) -> str:
        """Return the token endpoint that the issuer's metadata name."""
        issuer = self._client.issuer
        for url in build_oauth_authorization_server_metadata_discovery_urls(issuer, issuer):
            response = await http.send(create_oauth_metadata_request(url), stream=True)
            body = await read_body(response, _MAX_BYTES)
            whole = httpx2.Response(response.status_code, content=body or b"")
            goes_on, metadata = await handle_auth_metadata_response(whole)
            if metadata is not None:
                if not issuers_match(str(metadata.issuer), issuer):
                    raise RefusedError("The authorization server has another issuer.")
                return str(metadata.token_endpoint)
            if not goes_on:
                raise NotSentError(
                    f"The authorization server answered with HTTP status {response.status_code}."
                )
        raise RefusedError("The authorization server has no metadata.")

    async def _answer(self, http: httpx2.AsyncClient, url: str) -> dict[str, Any]:
        """Return the answer to a request of a token."""
        form, headers = self._request()
        request = http.build_request("POST", url, data=form, headers=headers)
        response = await http.send(request, stream=True)
        answer = json_object(await read_body(response, _MAX_BYTES))
        if response.is_success:
            token, kind = str(answer.get("access_token", "")), str(answer.get("token_type", ""))
            if _TOKEN.fullmatch(token) and kind.lower() == "bearer":
                return answer
            raise RefusedError("The authorization server's answer is not a bearer token.")
        text = f"The authorization server answered with HTTP status {response.status_code}"
        code = answer.get("error")
        if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
            text += f" ({code})"
        is_busy = response.is_server_error or response.status_code in _LATER
        raise (NotSentError if is_busy else RefusedError)(f"{text}.")

    def _request(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return form and headers of a request of a token."""
        client = self._client
        secret = client.client_secret.get_secret_value()
        form = {"grant_type": "client_credentials"}
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if client.client_auth == "post":
            form |= {"client_id": client.client_id, "client_secret": secret}
        else:
            pair = f"{quote(client.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        if client.scopes:
            form["scope"] = " ".join(client.scopes)
        if client.resource:
            form["resource"] = client.resource
        return form, headers
