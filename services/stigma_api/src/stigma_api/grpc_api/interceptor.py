"""Wraps every RPC: authentication, concurrency limit, timeout.

Here an `ApiError` becomes the RPC's status; anything else is a bug and left to the runtime's
`RpcMetrics`, which logs it and answers INTERNAL. Health and reflection pass untouched: a probe has
no key, and what reflection shows is public.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog

from stigma_api import errors
from stigma_api.access.authentication import Authenticator
from stigma_api.access.concurrency import ConcurrencyLimit, with_timeout
from stigma_api.access.principals import Principal
from stigma_api.access.streams import OpenStreams
from stigma_api.errors import ApiError

_SERVICES_PREFIX = "/stigma."
_CALLER: ContextVar[Principal] = ContextVar("stigma_api_caller")

Context = grpc.aio.ServicerContext[Any, Any]


def caller() -> Principal:
    """Return the principal of the RPC being worked on."""
    return _CALLER.get()


def authenticated_caller() -> Principal | None:
    """Return the principal of the RPC that was worked on; None if nobody was authenticated."""
    return _CALLER.get(None)


def with_behaviour(
    handler: Any, unary: Callable[[Any], Any], streaming: Callable[[Any], Any]
) -> Any:
    """Return a handler of the same RPC whose behaviour is wrapped.

    Args:
        handler: of an RPC with one request.
        unary: wraps the behaviour of one with one reply.
        streaming: wraps that of one with a stream of replies.
    """
    if handler.response_streaming:
        make, wrapped = grpc.unary_stream_rpc_method_handler, streaming(handler.unary_stream)
    else:
        make, wrapped = grpc.unary_unary_rpc_method_handler, unary(handler.unary_unary)
    return make(wrapped, handler.request_deserializer, handler.response_serializer)


class ApiInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every RPC of ours.

    Args:
        authenticator: finds the caller.
        calls: limit of RPCs with one answer.
        watches: limit of streams.
        call_timeout: longest time of an RPC with one answer.
        streams: ends those that are open too long, or when the server stops.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        calls: ConcurrencyLimit,
        watches: ConcurrencyLimit,
        call_timeout: timedelta,
        streams: OpenStreams,
    ) -> None:
        self._authenticator = authenticator
        self._calls = calls
        self._watches = watches
        self._call_timeout = call_timeout
        self._streams = streams
        self._log = structlog.get_logger()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of one RPC."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_SERVICES_PREFIX):
            return handler
        return with_behaviour(
            handler, partial(self._unary, method), partial(self._streaming, method)
        )

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: object, context: Context) -> object:
            try:
                self._enter(context)
                with self._calls.slot():
                    return await with_timeout(self._call_timeout, behaviour(request, context))
            except ApiError as error:
                await self._refuse(method, context, error)

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: object, context: Context) -> AsyncIterator[object]:
            try:
                principal = self._enter(context)
                with self._watches.slot():
                    async for reply in self._streams.bounded(behaviour(request, context)):
                        self._check_unchanged(context, principal)
                        yield reply
            except ApiError as error:
                await self._refuse(method, context, error)

        return call

    def _enter(self, context: Context) -> Principal:
        principal = self._authenticate(context)
        _CALLER.set(principal)
        return principal

    def _authenticate(self, context: Context) -> Principal:
        metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
        peer = {str(key): list(values) for key, values in (context.auth_context() or {}).items()}
        return self._authenticator.authenticate(metadata, peer)

    def _check_unchanged(self, context: Context, principal: Principal) -> None:
        """End a stream that was opened with other permissions, or with a key that is gone."""
        if self._authenticate(context) != principal:
            message = "the principal's permissions have changed: resume with the last cursor"
            raise errors.unavailable(message)

    async def _refuse(self, method: str, context: Context, error: ApiError) -> NoReturn:
        self._log.info(
            "call_refused",
            method=method,
            code=error.code.name,
            fields=error.fields,
            # What is wrong with a request may quote it; its field paths say enough here.
            reason=None if error.fields else error.message,
        )
        await context.abort_with_status(error.to_grpc())
