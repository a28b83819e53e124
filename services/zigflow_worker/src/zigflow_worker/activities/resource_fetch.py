"""Fetches the documents that a run needs before its first task."""

from __future__ import annotations

import asyncio

from typing_extensions import override

from stigma.contracts import engine_calls
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.resource_arguments import CallResources
from zigflow_worker.errors import COMMUNICATION, WorkflowError
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.resources import Resources


class ResourceFetch(CallHandler):
    """Returns the text of the argument `resource`."""

    def __init__(self, client: HttpClient, resources: Resources) -> None:
        self._client = client
        self._resources = resources

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        resources = CallResources(self._resources, self._client, call, "resource")
        try:
            async with asyncio.timeout(engine_calls.FETCH_TIMEOUT.total_seconds()):
                return CallOutcome(output=await resources.text(resources.uri))
        except TimeoutError:
            detail = f"a document took longer than {engine_calls.FETCH_TIMEOUT}"
            raise WorkflowError.of(COMMUNICATION, detail) from None
