"""Sends requests with the authentication of their call."""

from __future__ import annotations

from zigflow_worker.outgoing.messages import (
    Authentication,
    HttpSender,
    OutgoingRequest,
    OutgoingResponse,
)

_UNAUTHORIZED = 401


async def send_authenticated(
    sender: HttpSender, request: OutgoingRequest, authentication: Authentication | None
) -> OutgoingResponse:
    """Send a request with credentials; after a 401, once more where those can be better ones.

    Raises:
        WorkflowError: of `send`, or of type `authentication`, status 401.
    """
    if authentication is None:
        return await sender.send(request)
    response = await sender.send(await authentication.apply(request))
    if response.status != _UNAUTHORIZED:
        return response
    better = await authentication.answer(request, response)
    if better is None:
        return response
    del response  # its body, before the next one is read
    return await sender.send(better)
