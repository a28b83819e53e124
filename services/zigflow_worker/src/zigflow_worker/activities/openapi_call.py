"""Calls operations of OpenAPI documents."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from typing_extensions import override

from zigflow_worker.activities.arguments import mistyped, redirects_followed, text_argument
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.http_call import Authenticate, confined_sender
from zigflow_worker.activities.http_outputs import check_status, http_output, output_form
from zigflow_worker.activities.resource_arguments import CallResources
from zigflow_worker.errors import COMMUNICATION, VALIDATION, WorkflowError
from zigflow_worker.openapi import ApiDocuments, MissingDocumentError, build_request
from zigflow_worker.outgoing.authenticated import send_authenticated
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.memory import CallMemory
from zigflow_worker.outgoing.messages import OutgoingRequest
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.threads import run_in_thread

_BUILDERS = 4
"""Requests made at a time: each has its documents as data, 40 MiB where they are the largest."""
_BUILDING_TIMEOUT = timedelta(minutes=1)
"""Time for the documents that a request needs, so that others have their turn."""


class OpenApiCall(CallHandler):
    """Makes the calls of `call: openapi`."""

    def __init__(
        self, client: HttpClient, resources: Resources, authenticate: Authenticate
    ) -> None:
        self._client = client
        self._resources = resources
        self._authenticate = authenticate
        self._building = asyncio.Semaphore(_BUILDERS)
        self._reading = asyncio.Semaphore(1)
        """One document at a time: a large one takes a thread for seconds, which others need. Who
        waits for the same one finds it read."""

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        wanted = await run_in_thread(_wanted, call.arguments)
        call = await call.with_request(len(wanted.parameters), "document")
        request = replace(await self._request(call, wanted), follow=wanted.follow)
        call = await _as_http(call).with_request(len(request.body or b""))
        sender = confined_sender(self._client, call, request.url, call.memory)
        authentication = self._authenticate(call, self._client)
        response = await send_authenticated(sender, request, authentication)
        check_status(response, redirects=wanted.follow)
        await call.memory.decode_response(len(response.body))
        return CallOutcome(
            output=await run_in_thread(http_output, response, wanted.form, call),
            authorization=None if authentication is None else authentication.authorization,
        )

    async def _request(self, call: EvaluatedCall, wanted: _Wanted) -> OutgoingRequest:
        resources = CallResources(
            self._resources, self._client, call, "document", self._authenticate
        )
        await resources.prefetch()
        try:
            async with self._building, asyncio.timeout(_BUILDING_TIMEOUT.total_seconds()):
                return await self._build(resources, wanted, call.memory)
        except TimeoutError:
            detail = f"the API's documents took longer than {_BUILDING_TIMEOUT}"
            raise WorkflowError.of(COMMUNICATION, detail) from None
        except WorkflowError as error:
            if error.type == VALIDATION.uri and call.may_hold_secrets("parameters"):
                # Its own text quotes values.
                detail = "the parameters, which may hold secrets, do not match their schemas"
                raise WorkflowError.of(VALIDATION, detail) from None
            raise

    async def _build(
        self, resources: CallResources, wanted: _Wanted, memory: CallMemory
    ) -> OutgoingRequest:
        """Return the request of an operation; documents that it refers to are fetched."""
        uri, text = await resources.fetch(resources.uri)
        async with self._reading:
            documents = await asyncio.to_thread(ApiDocuments, uri, text)
        while True:
            await memory.decode_request(len(wanted.parameters))
            try:
                return await run_in_thread(wanted.build, documents)
            except MissingDocumentError as missing:
                memory.end_decoding()
                more = await resources.text(missing.uri)
                async with self._reading:
                    await asyncio.to_thread(documents.add, missing.uri, more)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A call's arguments, but for its document."""

    operation: str
    parameters: str
    """JSON text: as data they would take many times the memory while documents are fetched."""
    follow: bool
    form: str

    def build(self, documents: ApiDocuments) -> OutgoingRequest:
        """Return the request; raises as `build_request`."""
        return build_request(documents, self.operation, json.loads(self.parameters))


def _wanted(arguments: Any) -> _Wanted:
    parameters = arguments.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise mistyped("parameters", "a map")
    return _Wanted(
        text_argument(arguments.get("operationId"), "operationId"),
        json.dumps(parameters or {}),
        redirects_followed(arguments),
        output_form(arguments.get("output")),
    )


def _as_http(call: EvaluatedCall) -> EvaluatedCall:
    """Return the call with the parts of an HTTP call that may hold its secrets."""
    if call.may_hold_secrets("parameters") or call.may_hold_secrets("document"):
        return replace(call, secret_paths=[("endpoint",), ("headers",)])
    return replace(call, secret_paths=[])
