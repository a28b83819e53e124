"""Discovery of an OpenID provider's token endpoint (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, WorkflowError
from zigflow_worker.outgoing.authentication.headers import host_of
from zigflow_worker.outgoing.authentication.oauth2 import endpoint_below
from zigflow_worker.outgoing.authentication.token_responses import read_json
from zigflow_worker.outgoing.authentication.tokens import Fetched, TokenCache
from zigflow_worker.outgoing.client import origin
from zigflow_worker.outgoing.messages import HttpSender, OutgoingRequest

_SUFFIX = ".well-known/openid-configuration"
_SECONDS = 300
"""Time for which a token endpoint that was discovered is used."""


async def discovered_endpoint(authority: str, sender: HttpSender, cache: TokenCache) -> str:
    """Return the token endpoint of an authority, with or without the well-known suffix.

    Raises:
        WorkflowError: of type `communication`, where there is no configuration; of type
            `configuration`, status 400, where it has no token endpoint, or an insecure one.
    """
    whole = authority.rstrip("/").endswith(f"/{_SUFFIX}")
    url = authority if whole else endpoint_below(authority, _SUFFIX)

    async def fetch(_: str | None) -> Fetched[str]:
        return Fetched(await _discover(url, sender), _SECONDS)

    return await cache.endpoints.get(url, fetch)


async def _discover(url: str, sender: HttpSender) -> str:
    request = OutgoingRequest(method="GET", url=url, headers=[("Accept", "application/json")])
    response = await sender.send(request)
    source = f"the OpenID configuration at '{host_of(url)}'"
    if response.status != 200:
        message = f"{source} answered with status {response.status}"
        raise WorkflowError.of(COMMUNICATION, message).with_status(response.status)
    endpoint = read_json(response, source).get("token_endpoint")
    if not isinstance(endpoint, str):
        raise WorkflowError.of(CONFIGURATION, f"{source} has no 'token_endpoint'")
    if origin(url).startswith("https:") and not origin(endpoint).startswith("https:"):
        raise WorkflowError.of(CONFIGURATION, f"{source} has an insecure 'token_endpoint'")
    return endpoint
