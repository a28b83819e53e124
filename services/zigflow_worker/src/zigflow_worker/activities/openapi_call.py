"""Calls operations of OpenAPI documents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import override

from zigflow_worker.activities.arguments import mistyped, redirects_followed, text_argument
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.http_call import Authenticate, confined_sender
from zigflow_worker.activities.http_outputs import check_status, http_output
from zigflow_worker.activities.resource_arguments import CallResources
from zigflow_worker.errors import VALIDATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.openapi import ApiDocuments, MissingDocumentError, build_request
from zigflow_worker.outgoing.authenticated import send_authenticated
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.messages import OutgoingRequest
from zigflow_worker.outgoing.resources import Resources


class OpenApiCall(CallHandler):
    """Makes the calls of `call: openapi`."""

    def __init__(
        self, client: HttpClient, resources: Resources, authenticate: Authenticate
    ) -> None:
        self._client = client
        self._resources = resources
        self._authenticate = authenticate
        self._reading = asyncio.Semaphore(1)
        """One document at a time: a large one takes a thread for seconds, which others need. Who
        waits for the same one finds it read."""

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        arguments: Any = call.arguments
        follow = redirects_followed(arguments)
        request = replace(await self._request(call), follow=follow)
        sender = confined_sender(self._client, call, request.url)
        authentication = self._authenticate(call, self._client)
        response = await send_authenticated(sender, request, authentication)
        check_status(response, redirects=follow)
        return CallOutcome(
            output=await asyncio.to_thread(
                http_output, response, arguments.get("output"), _as_http(call)
            ),
            authorization=None if authentication is None else authentication.authorization,
        )

    async def _request(self, call: EvaluatedCall) -> OutgoingRequest:
        arguments: Any = call.arguments
        operation = text_argument(arguments.get("operationId"), "operationId")
        parameters = arguments.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise mistyped("parameters", "a map")
        resources = CallResources(
            self._resources, self._client, call, "document", self._authenticate
        )
        try:
            return await self._build(resources, operation, parameters or {})
        except WorkflowError as error:
            if error.type == VALIDATION.uri and call.may_hold_secrets("parameters"):
                # Its own text quotes values.
                detail = "the parameters, which may hold secrets, do not match their schemas"
                raise WorkflowError.of(VALIDATION, detail) from None
            raise

    async def _build(
        self, resources: CallResources, operation: str, parameters: Mapping[str, JSON]
    ) -> OutgoingRequest:
        """Return the request of an operation; documents that it refers to are fetched."""
        uri, text = await resources.fetch(resources.uri)
        async with self._reading:
            documents = await asyncio.to_thread(ApiDocuments, uri, text)
        while True:
            try:
                return await asyncio.to_thread(build_request, documents, operation, parameters)
            except MissingDocumentError as missing:
                more = await resources.text(missing.uri)
                async with self._reading:
                    await asyncio.to_thread(documents.add, missing.uri, more)


def _as_http(call: EvaluatedCall) -> EvaluatedCall:
    """Return the call with the parts of an HTTP call that may hold its secrets."""
    if call.may_hold_secrets("parameters") or call.may_hold_secrets("document"):
        return replace(call, secret_paths=[("endpoint",), ("headers",)])
    return replace(call, secret_paths=[])
