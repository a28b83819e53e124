"""Calls methods of gRPC services."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from typing_extensions import override

from zigflow_worker.activities.arguments import mistyped, text_argument
from zigflow_worker.activities.call_evaluation import CallOutcome, EvaluatedCall
from zigflow_worker.activities.calls import CallHandler
from zigflow_worker.activities.held_documents import HeldDocuments
from zigflow_worker.activities.http_call import Authenticate
from zigflow_worker.activities.resource_arguments import CallResources
from zigflow_worker.errors import COMMUNICATION, CONFIGURATION, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.outgoing.client import HttpClient, check_header
from zigflow_worker.outgoing.messages import Authentication, OutgoingRequest, OutgoingResponse
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.rpc import (
    Connection,
    Method,
    ProtoCompiler,
    RpcClient,
    SharedDescriptors,
    Target,
    find_method,
)
from zigflow_worker.rpc.calls import Metadata
from zigflow_worker.rpc.messages import encode_arguments
from zigflow_worker.rpc.protos import MAX_CHARACTERS
from zigflow_worker.rpc.reflection import reflect
from zigflow_worker.threads import run_in_thread

_UNAUTHENTICATED = 401
_SHORTEST_CREDENTIAL = 4
"""Characters of what is taken out of an error's text."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The method that a call names, and where it is."""

    target: Target
    service: str
    method: str
    arguments: str
    """JSON text: as data they would take many times the memory, and may be needed twice."""


class GrpcCall(CallHandler):
    """Makes the calls of `call: grpc`."""

    def __init__(
        self,
        client: HttpClient,
        resources: Resources,
        authenticate: Authenticate,
        rpc: RpcClient,
    ) -> None:
        self._client = client
        self._resources = resources
        self._authenticate = authenticate
        self._rpc = rpc
        self._shared = SharedDescriptors()
        self._protos = ProtoCompiler(self._shared)

    @override
    async def call(self, call: EvaluatedCall) -> CallOutcome:
        wanted = await run_in_thread(_wanted, call.arguments)
        call = call.with_request(len(wanted.arguments), wanted.target.url, "proto")
        call.secrets.check_host(wanted.target.host)
        authentication = self._authenticate(call, self._client)
        url = f"{wanted.target.url}/{wanted.service}/{wanted.method}"
        async with (
            self._described(call) as described,
            self._rpc.connect(wanted.target) as connection,
        ):

            async def send(request: OutgoingRequest) -> JSON:
                try:
                    metadata = _metadata(request)
                    async with self._pool(described, connection, wanted, metadata, call) as pool:
                        return await _exchange(connection, wanted, pool, metadata, call)
                except WorkflowError as error:
                    raise _without_secrets(error, call, request) from None

            plain = OutgoingRequest(method="POST", url=url)
            output = await _send_authenticated(send, plain, authentication)
        return CallOutcome(
            output=output,
            authorization=None if authentication is None else authentication.authorization,
        )

    @asynccontextmanager
    async def _described(self, call: EvaluatedCall) -> AsyncIterator[DescriptorPool | None]:
        """Use what the call's proto describes; None where it has none."""
        arguments: Any = call.arguments
        if arguments.get("proto") is None:
            yield None
            return
        resources = CallResources(self._resources, self._client, call, "proto", self._authenticate)
        documents = HeldDocuments(resources, call.memory, MAX_CHARACTERS)
        descriptors = self._protos.descriptors(resources.uri, documents.text, resources.server)
        async with descriptors as pool:
            call.memory.forget_documents()
            yield pool

    def _pool(
        self,
        described: DescriptorPool | None,
        connection: Connection,
        wanted: _Wanted,
        metadata: Metadata,
        call: EvaluatedCall,
    ) -> AbstractAsyncContextManager[DescriptorPool]:
        """Use what the proto describes, else what the server tells."""
        if described is not None:
            return nullcontext(described)
        return reflect(connection, wanted.service, metadata, call.memory, self._shared)


async def _exchange(
    connection: Connection,
    wanted: _Wanted,
    pool: DescriptorPool,
    metadata: Metadata,
    call: EvaluatedCall,
) -> JSON:
    method = find_method(pool, wanted.service, wanted.method)
    size = len(wanted.arguments)
    await call.memory.decode_request(size)
    messages = await run_in_thread(_messages, method, wanted, call)
    call.memory.hold_request(size + sum(map(len, messages)), connection.server)
    return await connection.call(method, messages, metadata, call.memory)


def _messages(method: Method, wanted: _Wanted, call: EvaluatedCall) -> list[bytes]:
    try:
        return encode_arguments(method, json.loads(wanted.arguments))
    except WorkflowError as error:
        if not call.may_hold_secrets("arguments"):
            raise
        # Its own text quotes values, and keys, which an expression may have made.
        detail = "the arguments, which may hold secrets, do not fit the method's messages"
        raise WorkflowError({**error.problem, "detail": detail}) from None


async def _send_authenticated(
    send: Callable[[OutgoingRequest], Awaitable[JSON]],
    request: OutgoingRequest,
    authentication: Authentication | None,
) -> JSON:
    """Send with credentials; where the server refuses them, once more if there are better ones."""
    if authentication is None:
        return await send(request)
    applied = await authentication.apply(request)
    try:
        return await send(applied)
    except WorkflowError as error:
        if error.problem["status"] != _UNAUTHENTICATED:
            raise
        refused = OutgoingResponse(status=_UNAUTHENTICATED, headers=(), body=b"", request=applied)
        better = await authentication.answer(request, refused)
        if better is None:
            raise
    return await send(better)


def _metadata(request: OutgoingRequest) -> list[tuple[str, str]]:
    for name, value in request.headers:
        check_header(name, value)
        if not value.isascii():
            detail = f"the value of the metadata '{name}' has characters beyond ASCII"
            raise WorkflowError.of(CONFIGURATION, detail)
    return [(name.lower(), value) for name, value in request.headers]


def _wanted(arguments: Any) -> _Wanted:
    service = arguments.get("service")
    if not isinstance(service, dict):
        raise mistyped("service", "a map")
    port = service.get("port")
    if isinstance(port, float) and port.is_integer():
        port = int(port)
    if port is not None and (not isinstance(port, int) or isinstance(port, bool)):
        raise mistyped("service.port", "a number")
    return _Wanted(
        Target.of(text_argument(service.get("host"), "service.host"), port),
        text_argument(service.get("name"), "service.name"),
        text_argument(arguments.get("method"), "method"),
        json.dumps(arguments.get("arguments")),
    )


def _without_secrets(
    error: WorkflowError, call: EvaluatedCall, request: OutgoingRequest
) -> WorkflowError:
    """Return an error whose text quotes no secret: not even one that the server repeats."""
    problem = error.problem
    if call.may_hold_secrets("arguments") and error.type == COMMUNICATION.uri:
        name = str(problem.get("detail")).partition(":")[0]
        return WorkflowError({**problem, "detail": name})
    detail = str(problem.get("detail"))
    for credential in _credentials(request):
        detail = detail.replace(credential, "…")
    return WorkflowError({**problem, "detail": detail})


def _credentials(request: OutgoingRequest) -> list[str]:
    """Return the credentials in a request, in all their forms, the longest first."""
    found: set[str] = set()
    for _, value in request.headers:
        scheme, _, parameter = value.partition(" ")
        found |= {value, parameter}
        if scheme.lower() == "basic":
            with suppress(binascii.Error, UnicodeDecodeError):
                found.update(base64.b64decode(parameter).decode().split(":", 1))
    long = [each for each in found if len(each) >= _SHORTEST_CREDENTIAL]
    return sorted(long, key=len, reverse=True)
