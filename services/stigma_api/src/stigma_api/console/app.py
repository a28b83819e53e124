"""The console as a web application: routes, authentication, and the headers of every response."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta

import grpc
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stigma_api import errors
from stigma_api.access.audit import AuditLog
from stigma_api.console.access import Access
from stigma_api.console.audit import Handler, PageAudit
from stigma_api.console.forms import own_path, read_form
from stigma_api.console.login_throttle import TooManyAttemptsError
from stigma_api.console.rendering import Assets, TemplateRenderer
from stigma_api.console.routes import PageRoute
from stigma_api.errors import ApiError

_MAX_FORM_BYTES = 8 * 1024
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    # Not no-referrer: browsers would then send forms without saying where they come from.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 503,
}
_EXPLANATIONS = {
    400: "The request cannot be understood.",
    401: "Your API key is not known.",
    403: "Your principal may not see or do this.",
    404: "There is no such page, or it is not yours to see.",
    405: "This page cannot be used that way.",
    429: "Too many wrong API keys came from your address. Try again in a minute.",
    503: "Temporal, or the registry, does not answer at the moment, or too many ask. "
    "Try again soon.",
}


def application(
    access: Access,
    routes: Sequence[PageRoute],
    templates: TemplateRenderer,
    assets: Assets,
    *,
    timeout: timedelta,
) -> ASGIApp:
    """Return the application.

    Args:
        access: authenticates.
        routes: of the pages for those who are signed in.
        templates: for the pages that need no sign-in.
        assets: the static files.
        timeout: of one page.
    """
    return _Application(access, routes, templates=templates, assets=assets, timeout=timeout).app


class _Application:
    def __init__(
        self,
        access: Access,
        routes: Sequence[PageRoute],
        *,
        templates: TemplateRenderer,
        assets: Assets,
        timeout: timedelta,
    ) -> None:
        self._access = access
        self._templates = templates
        self._assets = assets
        self._timeout = timeout.total_seconds()
        self._audit = PageAudit(AuditLog())
        self._log = structlog.get_logger()
        self.app = Starlette(
            routes=[
                *map(self._page, routes),
                Route("/login", self._public(self._login), methods=["GET", "POST"]),
                Route("/logout", self._public(self._logout), methods=["POST"]),
                Route("/static/{name}", self._public(self._static)),
            ],
            middleware=[Middleware(_Headers)],
            exception_handlers={HTTPException: self._on_http_exception},
        )

    def _page(self, page: PageRoute) -> Route:
        """Return the route of a page for principals."""
        answer = self._signed_in(self._audit.wrap(page.path, page.effect, page.handler))
        return Route(page.path, answer, methods=[page.method])

    def _signed_in(self, handler: Handler) -> Handler:
        """Wrap a handler that needs a principal."""

        async def answer(request: Request) -> Response:
            request.state.principal = self._access.principal(request)
            return await handler(request)

        return self._public(answer)

    def _public(self, handler: Handler) -> Handler:
        """Wrap a handler: within the timeout, and with a page for every error."""

        async def answer(request: Request) -> Response:
            request.state.principal = None
            try:
                if request.method not in {"GET", "HEAD"}:
                    self._access.require_own_page(request)
                async with asyncio.timeout(self._timeout):
                    return await handler(request)
            except TimeoutError:
                return self._error_page(request, 503)
            except ApiError as error:
                return self._api_error_page(request, error)
            except TooManyAttemptsError as error:
                seconds = math.ceil(error.wait.total_seconds())
                response = self._error_page(request, 429)
                response.headers["retry-after"] = str(seconds)
                return response
            except Exception:  # noqa: BLE001 - a bug of ours is no reason to show its inside
                self._log.exception("console_failed", path=request.url.path)
                return self._error_page(request, 500)

        return answer

    async def _login(self, request: Request) -> Response:
        if not self._access.asks_for_key:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return self._templates.page("login.html", problem="", next=_next_page(request))
        form = await read_form(request, _MAX_FORM_BYTES)
        response = RedirectResponse(own_path(form.get("next", "/")), 303)
        if self._access.sign_in(request, response, form.get("key", "").strip()):
            return response
        problem = "This API key is not known."
        return self._templates.page(
            "login.html", 401, problem=problem, next=own_path(form.get("next", "/"))
        )

    async def _logout(self, request: Request) -> Response:
        response = RedirectResponse("/login", 303)
        self._access.sign_out(request, response)
        return response

    async def _static(self, request: Request) -> Response:
        found = self._assets.response(request.path_params["name"], request.query_params)
        if found is None:
            raise errors.not_found("the file")
        return found

    def _api_error_page(self, request: Request, error: ApiError) -> Response:
        code = _CODES.get(error.code, 500)
        if code == 401 and not self._access.has_api_key(request):
            next_page = own_path(_path_and_query(request)) if request.method == "GET" else "/"
            return self._templates.page("login.html", 401, problem="", next=next_page)
        if code == 400:
            return self._error_page(request, code, error.message)
        return self._error_page(request, code)

    def _error_page(self, request: Request, code: int, explanation: str = "") -> Response:
        response = self._templates.page(
            "error.html",
            code,
            code=code,
            explanation=explanation or _EXPLANATIONS.get(code, "Something went wrong in here."),
            principal=getattr(request.state, "principal", None),
            path=request.url.path,
        )
        if code == 401:
            response.headers["www-authenticate"] = "Bearer"
        return response

    async def _on_http_exception(self, request: Request, error: Exception) -> Response:
        return self._error_page(request, getattr(error, "status_code", 500))


class _Headers:
    """Adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = _HEADERS if b"cache-control" in given else _HEADERS | _NO_STORE
                pairs = [(name.encode(), value.encode()) for name, value in added.items()]
                message["headers"] = [*message["headers"], *pairs]
            await send(message)

        await self._app(scope, receive, with_headers)


_NO_STORE = {"cache-control": "no-store"}


def _path_and_query(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


def _next_page(request: Request) -> str:
    return own_path(request.query_params.get("next", "/"))
