"""`call: grpc`, from its proto to its output."""

from __future__ import annotations

import base64
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from zigflow_worker.activities.grpc_call import GrpcCall
from zigflow_worker.definition import InvalidDocumentError
from zigflow_worker.errors import (
    AUTHORIZATION,
    COMMUNICATION,
    CONFIGURATION,
    EXPRESSION,
    VALIDATION,
    ErrorType,
    WorkflowError,
)
from zigflow_worker.outgoing.messages import Authentication, OutgoingRequest, OutgoingResponse
from zigflow_worker.outgoing.policy import OutgoingPolicy
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.programs import compile_text
from zigflow_worker.rpc import RpcClient
from zigflow_worker.tasks.registry import TASK_KINDS

from .conftest import document
from .grpc_servers import PROTOS, grpc_server
from .http_calls import LOOPBACK, evaluated, new_client

PROTO = {"uriTemplate": "echo.proto", "uriValues": {}}


@pytest.fixture(scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    async with grpc_server(tmp_path_factory.mktemp("grpc")) as port:
        yield port


@dataclass
class Tokens(Authentication):
    """Bearer tokens, each until the server refuses it."""

    tokens: list[str] = field(default_factory=lambda: ["token-one", "token-two"])
    scheme: str = "Bearer"

    async def apply(self, request: OutgoingRequest) -> OutgoingRequest:
        value = f"{self.scheme} {self.tokens[0]}"
        return replace(request, headers=[*request.headers, ("Authorization", value)])

    async def answer(
        self, request: OutgoingRequest, response: OutgoingResponse
    ) -> OutgoingRequest | None:
        assert response.status == 401
        self.tokens.pop(0)
        return await self.apply(request) if self.tokens else None

    @property
    def authorization(self) -> dict[str, str]:
        return {"scheme": self.scheme, "parameter": self.tokens[0]}


async def make(
    port: Any,
    method: str,
    arguments: Any = None,
    *,
    proto: Any = PROTO,
    authentication: Authentication | None = None,
    policy: OutgoingPolicy | None = None,
    secret_paths: Any = (),
    **service: Any,
) -> Any:
    """The outcome of a call."""
    client = new_client(policy)
    handler = GrpcCall(
        client,
        Resources(client, PROTOS),
        lambda call, sender: authentication,
        RpcClient(policy=policy or OutgoingPolicy(LOOPBACK)),
    )
    where = {"name": "echo.v1.Echo", "host": "localhost", "port": port, **service}
    written = {"service": where, "method": method, "arguments": arguments}
    if proto is not None:
        written["proto"] = proto
    try:
        return await handler.call(evaluated(written, secret_paths=secret_paths))
    finally:
        await client.close()


async def fault(kind: ErrorType, status: int, *given: Any, **more: Any) -> str:
    with pytest.raises(WorkflowError) as raised:
        await make(*given, **more)
    problem = raised.value.problem
    assert (problem["type"], problem["status"]) == (kind.uri, status)
    return str(problem["detail"])


async def test_a_method_is_called_by_its_proto_or_by_reflection(port: int) -> None:
    for proto in (PROTO, None):
        outcome = await make(port, "Say", {"text": "hi"}, proto=proto)
        assert outcome.output["replyText"] == "hi"
        assert outcome.output["authority"] == f"localhost:{port}"


async def test_credentials_are_metadata_and_are_renewed_once(port: int) -> None:
    tokens = Tokens()
    outcome = await make(port, "Say", {"header": "authorization"}, authentication=tokens)
    assert outcome.output["header"] == "Bearer token-one"
    assert outcome.authorization == {"scheme": "Bearer", "parameter": "token-one"}
    detail = await fault(COMMUNICATION, 401, port, "Say", {"fail_with": 16}, authentication=tokens)
    assert (detail, tokens.tokens) == ("UNAUTHENTICATED", ["token-two"])


@pytest.mark.parametrize("token", ["a\r\nx-evil: b", "ä"])
async def test_credentials_that_no_metadata_may_have_are_refused(port: int, token: str) -> None:
    detail = await fault(CONFIGURATION, 400, port, "Say", authentication=Tokens([token]))
    assert token not in detail


async def test_other_failures_ask_for_no_other_credentials(port: int) -> None:
    tokens = Tokens()
    await fault(COMMUNICATION, 404, port, "Say", {"fail_with": 5}, authentication=tokens)
    assert tokens.tokens == ["token-one", "token-two"]


@pytest.mark.parametrize(
    ("scheme", "token", "said"),
    [
        ("Bearer", "s3cret-token", "no s3cret-token here"),
        ("Basic", base64.b64encode(b"user1:hunter2").decode(), "no user1 with hunter2 here"),
    ],
)
async def test_an_error_does_not_repeat_credentials(
    port: int, scheme: str, token: str, said: str
) -> None:
    tokens = Tokens([token], scheme)
    request = {"fail_with": 7, "text": said}
    detail = await fault(COMMUNICATION, 403, port, "Say", request, authentication=tokens)
    assert detail.startswith("PERMISSION_DENIED: no … ")
    assert not any(secret in detail for secret in ("s3cret", "hunter2", "user1"))


async def test_an_error_does_not_repeat_secrets_of_arguments(port: int) -> None:
    secret: dict[str, Any] = {"secret_paths": [("arguments", "text")]}
    request = {"fail_with": 5, "text": "hunter2"}
    detail = await fault(COMMUNICATION, 404, port, "Say", request, **secret)
    assert detail == "NOT_FOUND"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"times": "hunter2"}, VALIDATION),
        ({"first_item": {"color": "hunter2"}}, CONFIGURATION),
        ({"hunter2": 1}, CONFIGURATION),
    ],
)
async def test_arguments_that_do_not_fit_are_quoted_unless_they_may_hold_secrets(
    port: int, arguments: dict[str, Any], kind: ErrorType
) -> None:
    assert "hunter2" in await fault(kind, 400, port, "Say", arguments)
    secret: dict[str, Any] = {"secret_paths": [("arguments",)]}
    detail = await fault(kind, 400, port, "Say", arguments, **secret)
    assert detail == "the arguments, which may hold secrets, do not fit the method's messages"


async def test_the_outgoing_policy_holds_for_addresses_and_protos(port: int) -> None:
    denied = OutgoingPolicy()
    await fault(AUTHORIZATION, 403, port, "Say", policy=denied)
    metadata = {"uriTemplate": "http://169.254.169.254/echo.proto"}
    await fault(AUTHORIZATION, 403, port, "Say", proto=metadata)
    connect = OutgoingPolicy(LOOPBACK, connect_to=[f"echo.example.com:443:127.0.0.1:{port}"])
    outcome = await make(443, "Say", policy=connect, host="http://echo.example.com")
    assert outcome.output["authority"] == "echo.example.com:443"


@pytest.mark.parametrize(
    ("more", "kind", "detail"),
    [
        ({"name": "echo.v1.None"}, CONFIGURATION, "there is no service 'echo.v1.None'"),
        ({"proto": {"endpoint": "../conftest.py"}}, AUTHORIZATION, "not below the directory"),
        ({"proto": {"endpoint": "file:///etc/passwd"}}, CONFIGURATION, "there is no file"),
        ({"proto": {"endpoint": 5}}, EXPRESSION, "'proto.endpoint' is not a URI"),
        ({"name": "\ud800"}, CONFIGURATION, "there is no service"),
        ({"name": 5}, EXPRESSION, "'service.name' is not a text"),
        ({"host": None}, EXPRESSION, "'service.host' is not a text"),
        ({"host": "a/b"}, CONFIGURATION, "is no address of a gRPC service"),
        ({"port": "5011"}, EXPRESSION, "'service.port' is not a number"),
        ({"port": True}, EXPRESSION, "'service.port' is not a number"),
    ],
)
async def test_arguments_that_are_wrong_are_told_of(
    port: int, more: dict[str, Any], kind: ErrorType, detail: str
) -> None:
    status = 403 if kind is AUTHORIZATION else 400
    assert detail in await fault(
        kind, status, *([] if "port" in more else [port]), method="Say", **more
    )


async def test_a_proto_of_ten_megabytes_is_refused(
    tmp_path: Path, engine: Any, settings: Any
) -> None:
    settings.resources_dir.mkdir()
    (settings.resources_dir / "large.proto").write_bytes(b"//" + b"x" * 10_000_000)
    problem = await engine.fault(
        """
        do:
          - call:
              call: grpc
              with:
                proto: {endpoint: large.proto}
                service: {name: a.B, host: localhost, port: 1}
                method: C
        """
    )
    assert problem["instance"] == "/do/0/call"
    assert "larger than 2097152 bytes" in problem["detail"]


async def test_a_document_calls_methods(port: int, engine: Any, settings: Any) -> None:
    shutil.copytree(PROTOS, settings.resources_dir / "app")
    output = await engine.run(
        f"""
        do:
          - greet:
              call: grpc
              with:
                proto: {{endpoint: file://app/greet.proto}}
                service: {{name: GreeterApi.Greeter, host: localhost, port: {port}}}
                method: SayHello
                arguments: {{name: "${{ .user.preferredDisplayName }}"}}
          - collect:
              call: grpc
              with:
                service:
                  name: echo.v1.Echo
                  host: localhost
                  port: ${{ $workflow.input.port }}
                method: Collect
                arguments: [{{text: "${{ .message }}"}}, {{text: b}}]
              output: {{as: .texts}}
        """,
        {"user": {"preferredDisplayName": "Ann"}, "port": port},
    )
    assert output == ["Hello Ann", "b"]


async def test_a_timeout_cancels_the_call(port: int, engine: Any) -> None:
    problem = await engine.fault(
        f"""
        do:
          - hang:
              call: grpc
              with:
                service: {{name: echo.v1.Echo, host: localhost, port: {port}}}
                method: Say
                arguments: {{hang: true}}
              timeout: {{after: {{milliseconds: 500}}}}
        """
    )
    assert (problem["status"], problem["instance"]) == (408, "/do/0/hang")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{method: a}", "/do/0/call/with: 'service' is required"),
        ("{service: {name: a, host: b}}", "/do/0/call/with: 'method' is required"),
        ("{service: {name: a}, method: a}", "with/service: 'host' is required"),
        ("{service: {host: a}, method: a}", "with/service: 'name' is required"),
        ("{service: {name: 1, host: a}, method: a}", "service/name: expected a string, not 1"),
        ("{service: {name: a, host: b, port: 0}, method: a}", "service/port: expected a port"),
        ("{service: {name: a, host: b, port: x}, method: a}", "service/port: expected an integer"),
        ("{service: {name: a, host: b, tls: 1}, method: a}", "service/tls: unknown key 'tls'"),
        ("{service: {name: a, host: b}, method: 5}", "with/method: expected a string, not 5"),
        ("{service: {name: a, host: b}, method: a, arguments: 5}", "arguments: expected a map"),
        (
            "{service: {name: a, host: b}, method: a, proto: {}}",
            "with/proto: 'endpoint' is required",
        ),
        ("{service: {name: a, host: b}, method: a, body: {}}", "with/body: unknown key 'body'"),
    ],
)
def test_a_document_that_is_wrong_is_refused(arguments: str, message: str) -> None:
    body = f"do:\n  - call:\n      call: grpc\n      with: {arguments}\n"
    with pytest.raises(InvalidDocumentError) as raised:
        compile_text(document(body), TASK_KINDS)
    [problem] = raised.value.problems
    assert message in str(problem)
    assert problem.line >= 7
