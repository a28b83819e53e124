"""Documents that calls need: API descriptions, protos, schemas.

They come by HTTP, within the outgoing policy, or from files below one directory.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from zigflow_worker.errors import AUTHORIZATION, COMMUNICATION, CONFIGURATION, WorkflowError
from zigflow_worker.outgoing.authenticated import send_authenticated
from zigflow_worker.outgoing.flights import Flights
from zigflow_worker.outgoing.messages import (
    Authentication,
    HttpSender,
    OutgoingRequest,
    OutgoingResponse,
    place_of,
)

MAX_FILE_BYTES = 2 * 1024 * 1024
_MAX_CACHED_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 1024
_FRESH_SECONDS = 300.0
_NOT_MODIFIED, _ERROR = 304, 300


@dataclass(frozen=True, slots=True)
class Resource:
    """A document that was fetched."""

    uri: str
    """Where it was found, after redirects: what relative references in it start from."""
    content: bytes


@dataclass(slots=True)
class _Entry:
    resource: Resource
    etag: str | None
    checked: float

    @property
    def size(self) -> int:
        """Bytes that it takes: an empty document takes some, too, by whatever URI."""
        texts = len(self.resource.uri) + len(self.etag or "")
        return _ENTRY_BYTES + 2 * texts + len(self.resource.content)


class Resources:
    """Fetches documents.

    Documents from HTTP are kept for five minutes, and for longer as long as their ETag holds; all
    of them together are at most 64 MiB. Those fetched with an authentication are not kept.

    Args:
        sender: of HTTP requests.
        directory: of `file:` and relative URIs; None: there are none.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        sender: HttpSender,
        directory: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sender = sender
        self._directory = directory
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self._flights: Flights[Resource] = Flights("a document")

    async def fetch(
        self,
        uri: str,
        base: str | None = None,
        *,
        authentication: Authentication | None = None,
        sender: HttpSender | None = None,
    ) -> Resource:
        """Return a document.

        Args:
            uri: `http:`, `https:`, `file:` or relative.
            base: URI of the document that refers to it.
            authentication: of the request.
            sender: sends in place of the usual one; nothing is kept then.

        Raises:
            WorkflowError: of type `configuration` where there is no such file, `authorization`
                where it is outside, or the address is not allowed, `communication` where no
                document came.
        """
        whole = urljoin(base, uri) if base else uri
        try:
            parts = urlsplit(whole)
        except ValueError:
            raise WorkflowError.of(CONFIGURATION, "a document's address is not a URI") from None
        if parts.scheme in {"http", "https"}:
            return await self._fetch_http(whole, authentication, sender)
        if parts.scheme not in {"", "file"}:
            detail = f"documents come by http, https and file, not by '{parts.scheme}'"
            raise WorkflowError.of(CONFIGURATION, detail)
        # `file://app/greet.proto`: what has the place of a host is a folder.
        return await asyncio.to_thread(self._read_file, unquote(f"{parts.netloc}/{parts.path}"))

    async def _fetch_http(
        self, uri: str, authentication: Authentication | None, sender: HttpSender | None
    ) -> Resource:
        if authentication is not None or sender is not None:
            request = OutgoingRequest(method="GET", url=uri, follow=True)
            response = await send_authenticated(sender or self._sender, request, authentication)
            return _resource(response)
        entry = self._entries.get(uri)
        if entry is not None and self._clock() - entry.checked < _FRESH_SECONDS:
            self._entries.move_to_end(uri)
            return entry.resource
        return await self._flights.join(uri, lambda: self._revalidate(uri, entry))

    async def _revalidate(self, uri: str, entry: _Entry | None) -> Resource:
        etag = None if entry is None else entry.etag
        headers = [] if etag is None else [("if-none-match", etag)]
        request = OutgoingRequest(method="GET", url=uri, headers=headers, follow=True)
        response = await self._sender.send(request)
        if entry is not None and response.status == _NOT_MODIFIED:
            entry.checked = self._clock()
            return entry.resource
        resource = _resource(response)
        self._keep(uri, _Entry(resource, response.header("etag"), self._clock()))
        return resource

    def _keep(self, uri: str, entry: _Entry) -> None:
        old = self._entries.pop(uri, None)
        self._size += entry.size - (old.size if old else 0)
        self._entries[uri] = entry
        while self._size > _MAX_CACHED_BYTES:
            _, dropped = self._entries.popitem(last=False)
            self._size -= dropped.size

    def _read_file(self, name: str) -> Resource:
        relative = "/".join(part for part in name.split("/") if part not in {"", "."})
        if self._directory is None:
            detail = f"the file '{relative}' cannot be read: STIGMA_RESOURCES_DIR is not set"
            raise WorkflowError.of(CONFIGURATION, detail)
        path = _path_below(self._directory, relative)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError:
            detail = f"the file '{relative}' cannot be read"
            raise WorkflowError.of(CONFIGURATION, detail) from None
        if len(content) > MAX_FILE_BYTES:
            detail = f"the file '{relative}' is larger than {MAX_FILE_BYTES} bytes"
            raise WorkflowError.of(COMMUNICATION, detail)
        return Resource(f"file:///{quote(relative)}", content)


def _path_below(directory: Path, relative: str) -> Path:
    """Return a file's real path (raises WorkflowError: missing, or outside the directory)."""
    if ".." in relative.split("/") or "\0" in relative:
        raise WorkflowError.of(AUTHORIZATION, f"the file '{relative}' is not below the directory")
    try:
        path = (directory / relative).resolve(strict=True)
        root = directory.resolve(strict=True)
    except (OSError, RuntimeError):
        raise WorkflowError.of(CONFIGURATION, f"there is no file '{relative}'") from None
    if not path.is_relative_to(root):
        raise WorkflowError.of(AUTHORIZATION, f"the file '{relative}' is not below the directory")
    if not path.is_file():
        raise WorkflowError.of(CONFIGURATION, f"'{relative}' is not a file")
    return path


def _resource(response: OutgoingResponse) -> Resource:
    if response.status >= _ERROR:
        detail = f"a document, {place_of(response.request)}: HTTP status {response.status}"
        error = WorkflowError.of(COMMUNICATION, detail)
        raise error.with_status(response.status)
    return Resource(response.request.url, response.body)
