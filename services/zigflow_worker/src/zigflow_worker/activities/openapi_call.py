"""Calls operations of OpenAPI documents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import override

from zigflow_worker.activities.arguments import mistyped, redirects_followed, text_argument
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.held_documents import HeldDocuments
from zigflow_worker.activities.http_call import Authenticate, confined_sender
from zigflow_worker.activities.http_outputs import check_status, http_output, output_form
from zigflow_worker.activities.resource_arguments import CallResources
from zigflow_worker.errors import VALIDATION, WorkflowError
from zigflow_worker.openapi import ApiDocuments, MissingDocumentError, build_request
from zigflow_worker.openapi.documents import MAX_CHARACTERS
from zigflow_worker.outgoing.authenticated import send_authenticated
from zigflow_worker.outgoing.client import HttpClient, origin
from zigflow_worker.outgoing.memory import UNCOUNTED_BYTES, CallMemory
from zigflow_worker.outgoing.messages import OutgoingRequest
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.threads import run_in_thread

_SMALL_BUILDERS = 2
"""Requests made at a time whose documents are small. One with large ones is made at a time: they
take a thread for seconds, and 40 MiB as data."""


class OpenApiCall(CallHandler):
    """Makes the calls of `call: openapi`."""

    def __init__(
        self, client: HttpClient, resources: Resources, authenticate: Authenticate
    ) -> None:
        self._client = client
        self._resources = resources
        self._authenticate = authenticate
        self._small = asyncio.Semaphore(_SMALL_BUILDERS)
        self._large = asyncio.Semaphore(1)

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        wanted = await run_in_thread(_wanted, call.arguments)
        documents = self._documents(call)
        call = call.with_request(len(wanted.parameters), documents.server)
        request = replace(await self._request(call, documents, wanted), follow=wanted.follow)
        size, server = len(request.body or b""), origin(request.url)
        call = _as_http(call).with_request(size, server)
        sender = confined_sender(self._client, call, request.url, call.memory)
        authentication = self._authenticate(call, self._client)
        response = await send_authenticated(sender, request, authentication)
        check_status(response, redirects=wanted.follow)
        await call.memory.decode_response(len(response.body))
        return CallOutcome(
            output=await run_in_thread(http_output, response, wanted.form, call),
            authorization=None if authentication is None else authentication.authorization,
        )

    def _documents(self, call: EvaluatedCall) -> HeldDocuments:
        resources = CallResources(
            self._resources, self._client, call, "document", self._authenticate
        )
        return HeldDocuments(resources, call.memory, MAX_CHARACTERS)

    async def _request(
        self, call: EvaluatedCall, documents: HeldDocuments, wanted: _Wanted
    ) -> OutgoingRequest:
        try:
            return await self._build(documents, wanted, call.memory)
        except WorkflowError as error:
            if error.type == VALIDATION.uri and call.may_hold_secrets("parameters"):
                # Its own text quotes values.
                detail = "the parameters, which may hold secrets, do not match their schemas"
                raise WorkflowError.of(VALIDATION, detail) from None
            raise
        finally:
            call.memory.forget_documents()

    async def _build(
        self, documents: HeldDocuments, wanted: _Wanted, memory: CallMemory
    ) -> OutgoingRequest:
        """Return the request of an operation; documents that it refers to are fetched.

        Whoever waits for a document's server has texts alone, and others build meanwhile.
        """
        uri = documents.uri
        while True:
            await documents.add(uri)
            builders = self._small if documents.size <= UNCOUNTED_BYTES else self._large
            try:
                async with builders:
                    await memory.decode_request(len(wanted.parameters))
                    return await run_in_thread(wanted.build, documents.texts)
            except MissingDocumentError as missing:
                uri = missing.uri
            memory.end_decoding()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A call's arguments, but for its document."""

    operation: str
    parameters: str
    """JSON text: as data they would take many times the memory while documents are fetched."""
    follow: bool
    form: str

    def build(self, texts: Mapping[str, str]) -> OutgoingRequest:
        """Return the request that documents make, the API's first; raises as `build_request`."""
        (uri, text), *others = texts.items()
        documents = ApiDocuments(uri, text)
        for place, more in others:
            documents.add(place, more)
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
