"""The inbox: what agents wait for from people, and the forms that answer it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from stigma.agent.v1.agent_execution_pb2 import PendingInput
from stigma.agent.v1.agent_execution_service_pb2 import (
    InputApproval,
    InputDecline,
    InputDenial,
    SubmitAgentInputRequest,
)
from stigma.contracts import json_text, limits
from stigma.contracts.typed_answers import typed_answer
from stigma_api import errors
from stigma_api.access.principals import Principal
from stigma_api.console.api import Api
from stigma_api.console.execution_refresh import backoff
from stigma_api.console.forms import own_path, read_form
from stigma_api.console.input_views import InputView, changes, input_view
from stigma_api.console.live_pages import LivePages
from stigma_api.console.rendering import TemplateRenderer
from stigma_api.console.shared_streams import Fragments
from stigma_api.console.signed_in_pages import SignedInPages, principal_of
from stigma_api.errors import ApiError

_LIST_SECONDS = 2.0
# Each byte of a text may take three in a form; a form has some fields beside it.
_MAX_FORM_BYTES = 3 * limits.MAX_TOOL_RESULT_BYTES + 16 * 1024
# Whole inputs kept, so that a page that refreshes does not ask every execution again.
_MAX_DETAILS = 200
_MAX_DETAIL_READS = 4
_DONE = {
    "approve": "Approved.",
    "deny": "Denied.",
    "reply": "Answered.",
    "decline": "Declined.",
}


class InboxPages:
    """Handles the requests of principals about pending inputs."""

    def __init__(
        self, api: Api, templates: TemplateRenderer, pages: SignedInPages, live: LivePages
    ) -> None:
        self._api = api
        self._templates = templates
        self._pages = pages
        self._live = live
        self._details: dict[tuple[str, str, int], PendingInput] = {}
        self._detail_reads = asyncio.Semaphore(_MAX_DETAIL_READS)

    async def inbox(self, request: Request) -> Response:
        """List the pending inputs that the principal may answer."""
        done = _DONE.get(request.query_params.get("done", ""), "")
        values = await self._listed(principal_of(request))
        return await self._pages.page(request, "inbox.html", done=done, **values)

    async def inbox_stream(self, request: Request) -> Response:
        """Stream the updates of the inbox."""

        async def source() -> AsyncIterator[Fragments]:
            while True:
                began = time.monotonic()
                values = await self._listed(principal_of(request))
                yield {"inbox": self._templates.part("_inbox.html", next="/inbox", **values)}
                await asyncio.sleep(backoff(began, _LIST_SECONDS))

        return self._live.stream(request, "inbox", source)

    async def show(self, request: Request) -> Response:
        """Show one pending input."""
        found = await self._find(request)
        return await self._page(request, found)

    async def answer(self, request: Request) -> Response:
        """Take an answer, or show what an edit of the arguments changes."""
        principal = principal_of(request)
        form = await read_form(request, _MAX_FORM_BYTES)
        found = await self._find(request)
        if form.get("answer") == "edit":
            return await self._preview(request, found, form.get("arguments", ""))
        submitted = _request(request.path_params, form, found)
        request.state.request_id = submitted.request_id
        try:
            await self._api.submit(principal, submitted)
        except ApiError as error:
            if not error.reason:
                raise
            # It may be pending no more: then the page has no form, and says why.
            found = await self._find(request)
            edited = submitted.approve.arguments_json
            return await self._page(request, found, 409, problem=error.message, edited=edited)
        self._pages.forget_count(principal)
        done = submitted.WhichOneof("answer") or ""
        following = own_path(form.get("next", "/inbox"))
        return RedirectResponse(f"/inbox?done={done}" if following == "/inbox" else following, 303)

    async def views_of(
        self, principal: Principal, execution_id: str, inputs: Sequence[PendingInput]
    ) -> Sequence[InputView]:
        """Return the views of an execution's pending inputs, if there are any."""
        if not inputs:
            return []
        try:
            found = await self._api.inputs(principal, execution_id)
        except ApiError:  # nobody tells what may be answered
            return [input_view(each, may_answer=False) for each in inputs]
        return [input_view(each.found, may_answer=each.may_answer) for each in found]

    async def _preview(self, request: Request, found: InputView | None, arguments: str) -> Response:
        try:
            value = json_text.parse(arguments)
            problem = "" if isinstance(value, dict) else "The arguments are no JSON object."
        except ValueError as error:
            problem = f"The arguments are no JSON: {error}"
        if found is None or problem:
            return await self._page(request, found, 400, problem=problem, edited=arguments)
        lines = list(changes(found.arguments, arguments))
        return await self._page(request, found, edited=arguments, changed=lines)

    async def _page(
        self, request: Request, found: InputView | None, status_code: int = 200, **values: Any
    ) -> Response:
        given = {"problem": "", "edited": "", "changed": []} | values
        return await self._pages.page(
            request,
            "input.html",
            status_code,
            execution_id=request.path_params["id"],
            input=found,
            next="/inbox",
            **given,
        )

    async def _find(self, request: Request) -> InputView | None:
        """Return the view of the input that a path names; None where it is pending no more."""
        parts = request.path_params
        found = await self._api.inputs(principal_of(request), parts["id"], parts["input"])
        return next((input_view(one.found, may_answer=one.may_answer) for one in found), None)

    async def _listed(self, principal: Principal) -> dict[str, Any]:
        inbox = await self._api.inbox(principal)
        whole = await asyncio.gather(*(self._whole(principal, each) for each in inbox.inputs))
        views = [input_view(each, may_answer=True) for each in whole]
        return {"inputs": views, "has_more": inbox.has_more}

    async def _whole(self, principal: Principal, brief: PendingInput) -> PendingInput:
        """Return an input of a list with its details; as it is where no worker has them."""
        key = brief.execution_id, brief.id, brief.request_time.ToNanoseconds()
        if (known := self._details.get(key)) is not None:
            return known
        try:
            async with self._detail_reads:
                found = await self._api.inputs(principal, brief.execution_id, brief.id)
        except ApiError:
            return brief
        if not found:
            return brief
        if len(self._details) >= _MAX_DETAILS:
            self._details.pop(next(iter(self._details)))
        self._details[key] = found[0].found
        return found[0].found


def _request(
    path: Mapping[str, str], form: Mapping[str, str], found: InputView | None
) -> SubmitAgentInputRequest:
    """Return the answer of a form; the same form twice is the same request."""
    request = SubmitAgentInputRequest(
        id=path["id"], input_id=path["input"], arguments_digest=form.get("digest", "")
    )
    reason = form.get("reason", "").strip()
    match form.get("answer"):
        case "approve":
            remember = form.get("remember") == "yes"
            request.approve.CopyFrom(
                InputApproval(arguments_json=form.get("arguments", ""), remember=remember)
            )
        case "deny":
            request.deny.CopyFrom(InputDenial(reason=reason))
        case "reply":
            text = form.get("text", "").replace("\r\n", "\n").strip()
            request.reply.CopyFrom(typed_answer(found.schema if found else "", text))
        case "decline":
            request.decline.CopyFrom(InputDecline(reason=reason))
        case _:
            raise errors.invalid_argument([("answer", "is none that this page has")])
    content = request.SerializeToString(deterministic=True)
    request.request_id = f"console-{hashlib.sha256(content).hexdigest()[:32]}"
    return request
