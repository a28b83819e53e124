"""Audit of the console: each page is of one effect, or shows and changes nothing of content."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import grpc
from starlette.requests import Request
from starlette.responses import Response

from stigma_api.access.audit import AuditLog, Effect, shown
from stigma_api.console.signed_in_pages import principal_of
from stigma_api.console.streams import EventStream
from stigma_api.errors import ApiError

Handler = Callable[[Request], Awaitable[Response]]

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    409: grpc.StatusCode.FAILED_PRECONDITION,
}


class PageAudit:
    """Wraps the handlers of pages."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def wrap(self, route: str, effect: Effect | None, handler: Handler) -> Handler:
        """Return the handler of a route that writes the audit log; as it is without an effect."""
        if effect is None:
            return handler

        async def answer(request: Request) -> Response:
            write = partial(self._write, request, route)
            try:
                response = await handler(request)
            except ApiError as error:
                write(effect, error.code.name)
                raise
            except BaseException:
                write(effect, grpc.StatusCode.UNKNOWN.name)
                raise
            if isinstance(response, EventStream):
                response.on_begin = partial(write, effect)
                return response
            # A form that was taken leads to another page. One that is shown again has changed
            # nothing: it may show what it would change.
            is_shown = effect is Effect.MUTATION and response.status_code == 200
            code = _CODES.get(response.status_code, grpc.StatusCode.OK)
            write(Effect.READ if is_shown else effect, code.name)
            return response

        return answer

    def _write(self, request: Request, route: str, effect: Effect, outcome: str) -> None:
        names = {name: shown(str(value)) for name, value in request.path_params.items()}
        self._log.write(
            principal_of(request),
            effect,
            f"{request.method} {route}",
            getattr(request.state, "resource", "")
            or route.removeprefix("/events").removeprefix("/").format(**names),
            outcome,
            request_id=getattr(request.state, "request_id", ""),
        )
