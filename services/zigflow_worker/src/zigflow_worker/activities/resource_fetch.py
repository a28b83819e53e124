"""Fetches the documents that a run needs before its first task."""

from __future__ import annotations

import asyncio
from typing import Any

from typing_extensions import override

from stigma.contracts import engine_calls, json_text
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.http_call import Authenticate
from zigflow_worker.activities.resource_arguments import text_of
from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, WorkflowError
from zigflow_worker.loading import DocumentError, load_foreign
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.threads import run_in_thread


class ResourceFetch(CallHandler):
    """Returns the argument `resource` as JSON text.

    A run reads its documents in one piece, in a workflow task: it has no time for YAML.
    """

    def __init__(
        self, client: HttpClient, resources: Resources, authenticate: Authenticate
    ) -> None:
        self._client = client
        self._resources = resources
        self._authenticate = authenticate

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        arguments: Any = call.arguments
        uri = arguments["resource"]["endpoint"]
        del arguments
        call = call.with_request(0, "")
        authentication = self._authenticate(call, self._client)
        try:
            async with asyncio.timeout(engine_calls.FETCH_TIMEOUT.total_seconds()):
                resource = await self._resources.fetch(uri, authentication=authentication)
        except TimeoutError:
            detail = f"a document took longer than {engine_calls.FETCH_TIMEOUT}"
            raise WorkflowError.of(COMMUNICATION, detail) from None
        await call.memory.decode_response(len(resource.content))
        return CallOutcome(output=await run_in_thread(_as_json, text_of(resource)))


def _as_json(text: str) -> str:
    most = engine_calls.MAX_RESOURCES_BYTES
    if len(text.encode()) > most:
        detail = f"a run's schemas may have {most} bytes together"
        raise WorkflowError.of(CONFIGURATION, detail)
    try:
        data = load_foreign(text)
    except DocumentError as error:
        detail = f"a schema that was fetched is not valid: the schema does not parse: {error}"
        raise WorkflowError.of(CONFIGURATION, detail) from None
    return json_text.compact(data)
