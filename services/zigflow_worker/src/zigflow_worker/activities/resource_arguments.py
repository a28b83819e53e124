"""Documents that a call's arguments name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from zigflow_worker.activities.arguments import uri_of
from zigflow_worker.activities.call_evaluation import EvaluatedCall
from zigflow_worker.activities.http_call import Authenticate, confined_sender
from zigflow_worker.errors import CONFIGURATION, WorkflowError
from zigflow_worker.outgoing.client import HttpClient, origin
from zigflow_worker.outgoing.messages import Authentication, HttpSender
from zigflow_worker.outgoing.resources import Resource, Resources


class CallResources:
    """The documents of one call: the one that an argument names, and those that it refers to.

    Args:
        resources: of all calls.
        client: sends requests that may have the call's secrets in them.
        call: the call.
        name: the argument.
        authenticate: returns the authentication of a call; None: documents have none.
    """

    def __init__(
        self,
        resources: Resources,
        client: HttpClient,
        call: EvaluatedCall,
        name: str,
        authenticate: Authenticate | None = None,
    ) -> None:
        arguments: Any = call.arguments
        self.uri = uri_of(arguments[name], f"{name}.endpoint")
        self.server = server_of(self.uri)
        """Where the document is, if it comes by HTTP."""
        self._resources = resources
        self._sender: HttpSender | None = None
        self._authentication: Authentication | None = None
        if not self.server:
            return
        if call.may_hold_secrets(name):
            self._sender = confined_sender(client, call, self.uri)
        if authenticate is not None:
            own = replace(
                call,
                authentication=arguments[name].get("authentication"),
                authentication_secrets=call.resource_secrets,
            )
            self._authentication = authenticate(own, client)

    async def fetch(self, uri: str) -> tuple[str, str]:
        """Return where a document was found, and its text (raises WorkflowError).

        Credentials go to the origin of the document that the argument names, and to no other.
        """
        authentication = self._authentication
        if authentication is not None and origin(uri) != origin(self.uri):
            authentication = None
        resource = await self._resources.fetch(
            uri, authentication=authentication, sender=self._sender
        )
        return resource.uri, text_of(resource)


def server_of(uri: str) -> str:
    """Return the origin that a document comes from, "" for one that is a file."""
    try:
        is_http = urlsplit(uri).scheme in ("http", "https")
    except ValueError:
        is_http = False
    return origin(uri) if is_http else ""


def text_of(resource: Resource) -> str:
    """Return the text of a document (raises WorkflowError)."""
    try:
        return resource.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WorkflowError.of(CONFIGURATION, "a document is no text in UTF-8") from None
