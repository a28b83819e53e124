"""gRPC calls of a server in Go: every kind of method, its status, its descriptors by reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.stack.waiting import eventually
from zigflow_worker.errors import AUTHORIZATION, COMMUNICATION, CONFIGURATION, WorkflowError
from zigflow_worker.outgoing.memory import MemoryBudget
from zigflow_worker.rpc import ProtoCompiler, RpcClient, Target, find_method
from zigflow_worker.rpc.messages import encode_arguments

from .grpc_servers import PROTOS, Loopback, compiled, grpc_server, reflected, write_certificate

SERVICE = "echo.v1.Echo"


async def read_file(uri: str) -> str:
    return (PROTOS / uri).read_text()


COMPILER = ProtoCompiler()


@pytest.fixture(scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    async with grpc_server(tmp_path_factory.mktemp("grpc")) as port:
        yield port


async def call(
    client: RpcClient,
    name: str,
    arguments: Any = None,
    *,
    host: str = "echo.test:50051",
    metadata: Sequence[tuple[str, str]] = (),
) -> Any:
    pool = await compiled(COMPILER, "echo.proto", read_file)
    method = find_method(pool, SERVICE, name)
    async with client.connect(Target.of(host, None)) as connection:
        return await connection.call(
            method, encode_arguments(method, arguments), metadata, MemoryBudget().new_call()
        )


async def fault(client: RpcClient, name: str, arguments: Any = None, **more: Any) -> WorkflowError:
    with pytest.raises(WorkflowError) as raised:
        await call(client, name, arguments, **more)
    return raised.value


def client_of(port: int, **options: Any) -> RpcClient:
    return RpcClient(policy=Loopback(port), **options)


async def test_a_message_has_json_names_and_takes_both(port: int) -> None:
    request = {
        "text": "hi",
        "first_item": {"itemName": "ball", "color": "COLOR_RED"},
        "sentAt": "2026-11-29T10:00:00Z",
        "data": {"a": [1, None]},
        "large": 9007199254740993,
        "content": "aGk=",
    }
    reply = await call(client_of(port), "Say", request)
    assert reply["replyText"] == "hi"
    assert (reply["isLast"], reply["texts"]) == (True, [])
    assert reply["authority"] == "echo.test:50051"
    sent = reply["request"]
    assert sent["firstItem"] == {"itemName": "ball", "color": "COLOR_RED"}
    assert (sent["sentAt"], sent["data"]) == ("2026-11-29T10:00:00Z", {"a": [1.0, None]})
    assert (sent["large"], sent["content"]) == ("9007199254740993", "aGk=")


async def test_streams_are_lists(port: int) -> None:
    client = client_of(port)
    replies = await call(client, "Count", {"times": 3})
    assert [(each["number"], each["isLast"]) for each in replies] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    assert await call(client, "Count", {"times": 0}) == []
    collected = await call(client, "Collect", [{"text": "a"}, {"text": "b"}])
    assert collected["texts"] == ["a", "b"]
    assert (await call(client, "Collect"))["texts"] == []
    chatted = await call(client, "Chat", [{"text": "a"}, {"text": "b"}])
    assert [each["replyText"] for each in chatted] == ["a", "b"]


@pytest.mark.parametrize("name", ["Collect", "Chat"])
async def test_a_stream_that_the_server_ends_early_has_its_status(port: int, name: str) -> None:
    messages = [{"fail_with": 5, "text": "early"}, *({"text": "x" * 1000} for _ in range(20))]
    for _ in range(20):
        error = await fault(client_of(port), name, messages)
        assert (error.problem["status"], error.problem["detail"]) == (404, "NOT_FOUND: early")


async def test_metadata_goes_with_a_call(port: int) -> None:
    metadata = [("authorization", "Bearer abc")]
    reply = await call(client_of(port), "Say", {"header": "authorization"}, metadata=metadata)
    assert reply["header"] == "Bearer abc"


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        (1, 499, "CANCELLED"),
        (2, 500, "UNKNOWN"),
        (3, 400, "INVALID_ARGUMENT"),
        (4, 504, "DEADLINE_EXCEEDED"),
        (5, 404, "NOT_FOUND"),
        (6, 409, "ALREADY_EXISTS"),
        (7, 403, "PERMISSION_DENIED"),
        (8, 429, "RESOURCE_EXHAUSTED"),
        (9, 400, "FAILED_PRECONDITION"),
        (10, 409, "ABORTED"),
        (11, 400, "OUT_OF_RANGE"),
        (12, 501, "UNIMPLEMENTED"),
        (13, 500, "INTERNAL"),
        (14, 503, "UNAVAILABLE"),
        (15, 500, "DATA_LOSS"),
        (16, 401, "UNAUTHENTICATED"),
    ],
)
async def test_a_status_is_that_of_google_rpc_s_table(
    port: int, code: int, status: int, name: str
) -> None:
    error = await fault(client_of(port), "Say", {"fail_with": code, "text": "no\r\nmore"})
    assert (error.type, error.problem["status"]) == (COMMUNICATION.uri, status)
    assert error.problem["detail"] == f"{name}: no more"


async def test_a_long_status_is_cut(port: int) -> None:
    error = await fault(client_of(port), "Say", {"fail_with": 5, "text": "x" * 5000})
    assert len(str(error.problem["detail"])) < 1100


@pytest.mark.parametrize(
    ("name", "arguments", "detail"),
    [
        ("Say", {"reply_bytes": 70_000}, "a message is larger than the limit"),
        ("Count", {"reply_bytes": 30_000, "times": 3}, "the responses are larger than 65536 bytes"),
        ("Count", {"times": 1_000_000}, "the responses are larger than 65536 bytes"),
    ],
)
async def test_responses_have_a_limit(
    port: int, name: str, arguments: dict[str, int], detail: str
) -> None:
    error = await fault(client_of(port, response_limit=65_536), name, arguments)
    assert (error.problem["status"], error.problem["detail"]) == (500, detail)


async def test_a_cancel_cancels_the_call(port: int) -> None:
    client = client_of(port)

    async def is_told(text: str) -> bool:
        return bool((await call(client, "Cancelled"))["replyText"] == text)

    calls = {"Say": {"hang": True}, "Count": {"hang": True}, "Collect": [{"hang": True}]}
    waiting = [asyncio.create_task(call(client, *each)) for each in calls.items()]
    await eventually(lambda: is_told("3 hang, 0 cancelled"), what="three calls")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert all(task.cancelled() for task in waiting)
    await eventually(lambda: is_told("0 hang, 3 cancelled"), what="cancelled calls")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_descriptors_come_by_reflection(version: str, tmp_path: Path) -> None:
    async with grpc_server(tmp_path, f"--reflection={version}") as port:
        client = client_of(port)
        async with client.connect(Target.of("h", 50051)) as connection:
            pool = await reflected(connection, SERVICE)
            method = find_method(pool, SERVICE, "Say")
            messages = encode_arguments(method, {"firstItem": {"color": "COLOR_RED"}})
            reply: Any = await connection.call(method, messages, (), MemoryBudget().new_call())
            with pytest.raises(WorkflowError, match=r"the server has no service 'echo\.v1\.None'"):
                await reflected(connection, "echo.v1.None")
    assert reply["request"]["firstItem"]["color"] == "COLOR_RED"


async def test_a_server_without_reflection_is_told_of(tmp_path: Path) -> None:
    async with (
        grpc_server(tmp_path, "--reflection=none") as port,
        client_of(port).connect(Target.of("h", 50051)) as connection,
    ):
        with pytest.raises(WorkflowError) as raised:
            await reflected(connection, SERVICE)
    assert raised.value.type == CONFIGURATION.uri
    assert "the server has no reflection" in str(raised.value)


async def test_a_server_with_tls_has_to_be_the_one_named(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "echo.test")
    roots = certificate.read_bytes()
    async with grpc_server(tmp_path, f"--cert={certificate}", f"--key={key}") as port:
        client = client_of(port, roots=roots)
        reply = await call(client, "Say", {"text": "hi"}, host="https://echo.test")
        assert (reply["replyText"], reply["authority"]) == ("hi", "echo.test:443")
        for other in (
            fault(client, "Say", host="https://other.test"),
            fault(client_of(port), "Say", host="echo.test"),  # an authority it does not trust
            fault(client, "Say", host="http://echo.test"),
        ):
            error = await other
            assert (error.type, error.problem["status"]) == (COMMUNICATION.uri, 503)


async def test_a_server_that_is_not_there_is_unavailable(port: int) -> None:
    error = await fault(RpcClient(policy=Loopback(1)), "Say")
    assert error.problem["status"] == 503
    assert "Connection refused" in str(error)
    error = await fault(RpcClient(policy=Loopback(port, ips=())), "Say")
    assert "has no address" in str(error)


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await fault(client_of(port, connect_seconds=0.3), "Say")
    assert error.problem["status"] == 503
    assert error.problem["detail"] == "echo.test:50051 did not answer within 0.3 s"


async def test_addresses_are_tried_in_turn(port: int) -> None:
    client = RpcClient(policy=Loopback(port, ips=("::1", "127.0.0.1")))
    assert (await call(client, "Say", {"text": "hi"}))["replyText"] == "hi"


async def test_the_outgoing_policy_holds(port: int) -> None:
    error = await fault(client_of(port), "Say", host="denied")
    assert error.type == AUTHORIZATION.uri
