"""Documents that a call's arguments name."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from zigflow_worker.activities.call_evaluation import EvaluatedCall
from zigflow_worker.activities.http_call import confined_sender
from zigflow_worker.errors import CONFIGURATION, EXPRESSION, WorkflowError
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.messages import HttpSender
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.uri_templates import expand


class CallResources:
    """The documents of one call: the one that an argument names, and those that it refers to.

    Args:
        resources: of all calls.
        client: sends requests that may have the call's secrets in them.
        call: the call.
        name: the argument.
    """

    def __init__(
        self, resources: Resources, client: HttpClient, call: EvaluatedCall, name: str
    ) -> None:
        arguments: Any = call.arguments
        self.uri = _uri(arguments[name], name)
        self._resources = resources
        self._sender: HttpSender | None = None
        is_http = urlsplit(self.uri).scheme in ("http", "https")
        if call.may_hold_secrets(name) and is_http:
            self._sender = confined_sender(client, call, self.uri)

    async def fetch(self, uri: str) -> tuple[str, str]:
        """Return where a document was found, and its text (raises WorkflowError)."""
        resource = await self._resources.fetch(uri, sender=self._sender)
        try:
            return resource.uri, resource.content.decode("utf-8-sig")
        except UnicodeDecodeError:
            detail = "a document is no text in UTF-8"
            raise WorkflowError.of(CONFIGURATION, detail) from None

    async def text(self, uri: str) -> str:
        """Return the text of a document (raises WorkflowError)."""
        _, text = await self.fetch(uri)
        return text


def _uri(resource: Any, name: str) -> str:
    if isinstance(resource, dict) and "uriTemplate" in resource:
        return expand(resource["uriTemplate"], resource.get("uriValues") or {})
    endpoint = resource.get("endpoint") if isinstance(resource, dict) else None
    if isinstance(endpoint, dict) and endpoint.keys() == {"uri"}:
        endpoint = endpoint["uri"]
    if not isinstance(endpoint, str):
        raise WorkflowError.of(EXPRESSION, f"'{name}.endpoint' is not a URI, or a map with one")
    return endpoint
