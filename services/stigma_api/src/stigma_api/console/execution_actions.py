"""Cancels of executions, and asking again: a page that asks, and the form that does it."""

from __future__ import annotations

import re
import uuid

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stigma.contracts import limits
from stigma_api import errors
from stigma_api.access.principals import Action
from stigma_api.console.api import Api
from stigma_api.console.execution_changes import ExecutionChanges
from stigma_api.console.forms import read_form
from stigma_api.console.signed_in_pages import SignedInPages, principal_of
from stigma_api.console.views import MAX_TEXT, ExecutionView, view
from stigma_api.errors import ApiError

# Each byte of a text may take three in a form; a form has some fields beside it.
_MAX_FORM_BYTES = 3 * 4 * MAX_TEXT + 16 * 1024
_SAID_ON_THE_PAGE = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
    }
)
_REQUEST_ID = re.compile(r"console-[0-9a-f]{32}")


class ExecutionActions:
    """Handles the requests of principals that change what executions do."""

    def __init__(self, api: Api, changes: ExecutionChanges, pages: SignedInPages) -> None:
        self._api = api
        self._changes = changes
        self._pages = pages

    async def confirm_cancel(self, request: Request) -> Response:
        """Ask whether an execution is to stop."""
        principal_of(request).require(Action.EXECUTIONS_CANCEL)
        return await self._cancel_page(request)

    async def cancel(self, request: Request) -> Response:
        """Ask an execution to stop."""
        form = await read_form(request, _MAX_FORM_BYTES)
        reason = form.get("reason", "").strip()
        execution_id = request.path_params["id"]
        after_step = form.get("mode") == "after-step"
        try:
            await self._changes.cancel(
                principal_of(request), execution_id, reason, after_step=after_step
            )
        except ApiError as error:
            if error.code not in _SAID_ON_THE_PAGE:
                raise
            return await self._cancel_page(request, 409, problem=error.message)
        return RedirectResponse(f"/executions/{execution_id}", 303)

    async def confirm_repeat(self, request: Request) -> Response:
        """Ask whether an execution is to be started again, and with which task."""
        principal_of(request).require(Action.EXECUTIONS_START)
        return await self._repeat_page(request)

    async def repeat(self, request: Request) -> Response:
        """Start once more what an execution was started with."""
        form = await read_form(request, _MAX_FORM_BYTES)
        request_id = form.get("request", "")
        if not _REQUEST_ID.fullmatch(request_id):
            raise errors.invalid_argument([("request", "is none that this page has made")])
        request.state.request_id = request_id
        message = form.get("message")
        try:
            started = await self._changes.repeat(
                principal_of(request),
                request.path_params["id"],
                request_id=request_id,
                newest_version=form.get("version") == "newest",
                message=None if message is None else message.replace("\r\n", "\n"),
            )
        except ApiError as error:
            if error.code not in _SAID_ON_THE_PAGE:
                raise
            return await self._repeat_page(request, 400, problem=error.message)
        return RedirectResponse(f"/executions/{started.id}", 303)

    async def _cancel_page(
        self, request: Request, status_code: int = 200, problem: str = ""
    ) -> Response:
        return await self._pages.page(
            request,
            "cancel.html",
            status_code,
            execution=await self._shown(request),
            max_reason=limits.MAX_REASON_BYTES,
            problem=problem,
        )

    async def _repeat_page(
        self, request: Request, status_code: int = 200, problem: str = ""
    ) -> Response:
        return await self._pages.page(
            request,
            "repeat.html",
            status_code,
            execution=await self._shown(request),
            request_id=f"console-{uuid.uuid4().hex}",
            problem=problem,
        )

    async def _shown(self, request: Request) -> ExecutionView:
        found = await self._api.execution(principal_of(request), request.path_params["id"])
        return view(found)
