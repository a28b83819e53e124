"""Channels to the API, every call over which carries a key."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from stigma.contracts.channels import channel_options, target_of


def open_channel(address: str, *, api_key: str = "") -> grpc.aio.Channel:
    """Return a channel in clear to `host:port`."""
    interceptors = [kind(api_key) for kind in _WITH_KEY] if api_key else []
    return grpc.aio.insecure_channel(
        target_of(address), options=channel_options(address), interceptors=interceptors
    )


class _Key:
    def __init__(self, api_key: str) -> None:
        self._value = f"Bearer {api_key}"

    def added_to(self, details: Any) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(tuple(details.metadata) if details.metadata else ()))
        metadata["authorization"] = self._value
        return grpc.aio.ClientCallDetails(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
        )


# grpc.aio takes an interceptor for one kind of call only; the API has these two.
class _UnaryUnary(_Key, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self.added_to(details), request)


class _UnaryStream(_Key, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(self.added_to(details), request)


_WITH_KEY = (_UnaryUnary, _UnaryStream)
