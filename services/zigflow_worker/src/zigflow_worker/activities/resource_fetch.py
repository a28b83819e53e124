"""Fetches the documents that a run needs before its first task."""

from __future__ import annotations

import asyncio
from typing import Any

from typing_extensions import override

from stigma.contracts import engine_calls
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.http_call import Authenticate
from zigflow_worker.activities.resource_arguments import text_of
from zigflow_worker.errors import COMMUNICATION, WorkflowError
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.resources import Resources


class ResourceFetch(CallHandler):
    """Returns the text of the argument `resource`."""

    def __init__(
        self, client: HttpClient, resources: Resources, authenticate: Authenticate
    ) -> None:
        self._client = client
        self._resources = resources
        self._authenticate = authenticate

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        arguments: Any = call.arguments
        authentication = self._authenticate(call, self._client)
        try:
            async with asyncio.timeout(engine_calls.FETCH_TIMEOUT.total_seconds()):
                resource = await self._resources.fetch(
                    arguments["resource"]["endpoint"], authentication=authentication
                )
        except TimeoutError:
            detail = f"a document took longer than {engine_calls.FETCH_TIMEOUT}"
            raise WorkflowError.of(COMMUNICATION, detail) from None
        return CallOutcome(output=text_of(resource))
