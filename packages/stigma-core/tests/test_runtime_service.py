"""The life of a service, seen from outside: a real process, a real Temporal server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from stigma_cli.devserver import DevServer, free_ports
from tests.stack.forked import Streams, start_module

_DIRECTORY = Path(__file__).parent
_SERVICE = "runtime_service"
_PROMPT = "the prompt nobody may read"


class Service:
    """The service under test as a process; its log events arrive as they are written."""

    def __init__(self, address: str, **env: str) -> None:
        self.task_queue = f"rt-{uuid.uuid4()}"
        self.grpc_port, self.admin_port = free_ports(2)
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("STIGMA_", "OTEL_"))},
            "TEMPORAL_ADDRESS": address,
            "STIGMA_TASK_QUEUE": self.task_queue,
            "STIGMA_GRPC_PORT": str(self.grpc_port),
            "STIGMA_ADMIN_PORT": str(self.admin_port),
            **env,
        }
        read, write = os.pipe()
        self._stdout = os.fdopen(read)
        with Path(os.devnull).open("rb") as nothing:
            streams = Streams(nothing.fileno(), write, write)
            self.process = start_module(_SERVICE, (), environment, streams, _DIRECTORY)
        os.close(write)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with self._stdout as lines:
            for line in lines:
                self.lines.append(line)
                self._new.put(line)
        self._new.put(None)

    def wait_event(self, name: str, timeout: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            line = self._new.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, f"ended before {name}:\n{self.output}"
            if line.startswith("{") and (event := json.loads(line))["event"].startswith(name):
                assert isinstance(event, dict)
                return event

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def events(self) -> list[dict[str, Any]]:
        assert all(line.startswith("{") for line in self.lines), self.output
        return [json.loads(line) for line in self.lines]

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        connection.request(method, path)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def terminate(self, timeout: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended(timeout)

    def ended(self, timeout: float = 30) -> int:
        code = self.process.wait(timeout)
        while self._new.get(timeout=timeout) is not None:
            pass
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._reader.join()


@pytest.fixture
def run_service(temporal_server: Any) -> Iterator[Callable[..., Service]]:
    with contextlib.ExitStack() as stack:

        def start(address: str = temporal_server.address, **env: str) -> Service:
            service = Service(address, **env)
            stack.callback(service.kill)
            return service

        yield start


@pytest.fixture
async def client(temporal_server: Any) -> Client:
    return await Client.connect(temporal_server.address)


async def start_work(client: Client, service: Service, mode: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        "Work", mode, id=str(uuid.uuid4()), task_queue=service.task_queue, result_type=str
    )


async def test_ready_only_while_it_serves(
    run_service: Callable[..., Service], client: Client
) -> None:
    service = run_service()
    registered = service.wait_event("registered")
    assert registered["task_queue"] == service.task_queue
    assert (registered["workflows"], registered["activities"]) == (["Work"], ["work"])
    service.wait_event("ready")
    status, report = service.get("/readyz")
    assert status == 200
    assert json.loads(report)["checks"].keys() == {"service", "temporal", "worker", "grpc"}
    assert service.get("/livez") == (200, "alive\n")
    assert service.get("/other")[0] == 404
    assert service.get("/livez", "POST")[0] == 405
    assert service.get("/livez", "HEAD") == (200, "")
    metrics = service.get("/metrics")[1]
    assert "process_cpu_seconds_total" in metrics
    assert "temporal_worker_start" in metrics  # the SDK's own exporter
    assert "\nstigma_ready 1.0\n" in metrics
    assert service.terminate() == 0
    assert [e["event"] for e in service.events][-1] == "stopped"
    assert {e["service"] for e in service.events} == {"runtime_service"}


async def test_sigterm_drains_a_running_activity(
    run_service: Callable[..., Service], client: Client, tmp_path: Path
) -> None:
    side = tmp_path / "side"
    service = run_service(STIGMA_SIDE_FILE=str(side))
    service.wait_event("ready")
    handle = await start_work(client, service, "slow")
    event = service.wait_event("working")
    assert event["workflow_id"] == handle.id
    assert event["attempt"] == 1
    assert event["loop"] == "uvloop"
    service.process.send_signal(signal.SIGTERM)
    service.wait_event("stopping")
    assert service.get("/readyz")[0] == 503
    side.unlink()  # until which it goes on
    assert service.ended() == 0
    # Nobody is left to take the workflow's next task: history tells that the activity ended well.
    history = await handle.fetch_history()
    names = [str(e.WhichOneof("attributes")) for e in history.events]
    assert "activity_task_completed_event_attributes" in names
    assert not [n for n in names if "failed" in n or "timed_out" in n]


async def test_an_activity_that_ignores_its_cancellation_cannot_hold_the_process(
    run_service: Callable[..., Service], client: Client
) -> None:
    service = run_service(STIGMA_SHUTDOWN_GRACE="0.5")
    service.wait_event("ready")
    await start_work(client, service, "stubborn")
    service.wait_event("working")
    assert service.terminate() == 1
    assert service.events[-1]["event"] == "did_not_stop"


@pytest.mark.parametrize(
    ("fail", "code", "event"),
    [("swallow two cancels", 0, "stopped"), ("swallow cancels", 1, "did_not_stop")],
)
def test_stops_though_a_task_takes_its_cancel_for_something_else(
    run_service: Callable[..., Service], fail: str, code: int, event: str
) -> None:
    service = run_service(STIGMA_FAIL=fail)
    service.wait_event("grpc_listening")
    assert service.terminate() == code
    assert service.events[-1]["event"] == event


async def test_waits_for_temporal_and_can_be_stopped_meanwhile(
    run_service: Callable[..., Service], temporal_binary: Path
) -> None:
    server = DevServer(temporal_binary)
    waiting = run_service(server.address)
    assert waiting.wait_event("temporal_waiting")["address"] == server.address
    status, report = waiting.get("/readyz")
    assert status == 503
    assert json.loads(report)["checks"]["temporal"] == {"ready": False, "reason": "not connected"}
    stopped = run_service(server.address)
    stopped.wait_event("temporal_waiting")
    assert stopped.terminate() == 0
    async with server:
        waiting.wait_event("temporal_connected", timeout=60)
        waiting.wait_event("ready")
        await server.kill()
    lost = waiting.wait_event("not_ready")
    assert "temporal" in lost["reasons"]
    assert waiting.terminate() == 0
    said = [e["reason"] for e in waiting.events if e["event"] == "temporal_waiting"]
    assert len(said) == len(set(said)), "waiting is said once for each reason"


def test_a_namespace_that_does_not_exist_is_waited_for(
    run_service: Callable[..., Service],
) -> None:
    service = run_service(TEMPORAL_NAMESPACE="nowhere")
    assert service.wait_event("temporal_waiting")["reason"] == "the namespace does not exist"
    assert service.terminate() == 0


@pytest.mark.parametrize(
    ("env", "code", "event", "reason"),
    [
        ({"STIGMA_FAIL": "build"}, 2, "misconfigured", "this cannot work"),
        ({"STIGMA_FAIL": "later"}, 1, "failed", "RuntimeError: it broke"),
        ({"TEMPORAL_PROFILE": "none"}, 2, "misconfigured", "the Temporal configuration"),
        (
            {"TEMPORAL_TLS": "true", "SSL_CERT_FILE": "/none/ca", "SSL_CERT_DIR": ""},
            2,
            "misconfigured",
            "SSL_CERT_FILE: '/none/ca' cannot be read",
        ),
        ({"STIGMA_ADMIN_HOST": "192.0.2.1"}, 2, "misconfigured", "cannot open the admin port"),
    ],
)
def test_ends_with_a_reason(
    run_service: Callable[..., Service], env: dict[str, str], code: int, event: str, reason: str
) -> None:
    service = run_service(**env)
    assert service.ended() == code
    assert service.events[-1]["event"] == event
    assert reason in service.events[-1]["reason"]


def test_a_taken_port_is_said(run_service: Callable[..., Service]) -> None:
    first = run_service()
    first.wait_event("ready")
    second = run_service(STIGMA_GRPC_PORT=str(first.grpc_port))
    assert second.ended() == 2
    # gRPC's native part writes a line of its own to stderr before.
    assert "cannot listen on" in json.loads(second.lines[-1])["reason"]


def test_a_bad_setting_is_one_line(run_service: Callable[..., Service]) -> None:
    service = run_service(STIGMA_SHUTDOWN_GRACE="-1")
    assert service.ended() == 2
    assert len(service.lines) == 1


async def test_health_and_reflection(run_service: Callable[..., Service]) -> None:
    service = run_service()
    service.wait_event("ready")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(
            health_pb2.HealthCheckRequest(service="stigma.test.Relay"), timeout=10
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([request])
        )
        async for reply in call:
            names = {s.name for s in reply.list_services_response.service}
        assert {"stigma.test.Relay", "grpc.health.v1.Health"} <= names
        start: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/stigma.test.Relay/Start"
        )
        assert await start(b"plain", timeout=30) == _PROMPT.encode()
    assert (
        'stigma_rpc_requests_total{code="OK",method="/stigma.test.Relay/Start"} 1.0'
        in (service.get("/metrics")[1])
    )


@pytest.mark.parametrize("mode", ["leak", "late", "plain"])
@pytest.mark.parametrize("fail", ["", "sdk_debug"])
async def test_no_token_key_or_prompt_in_the_log(
    run_service: Callable[..., Service], client: Client, tmp_path: Path, mode: str, fail: str
) -> None:
    side = tmp_path / "side"
    key = "sk-very-secret-0123456789"
    service = run_service(
        STIGMA_LOG_LEVEL="DEBUG", STIGMA_SIDE_FILE=str(side), STIGMA_KEY=key, STIGMA_FAIL=fail
    )
    service.wait_event("ready")
    handle = await start_work(client, service, mode)
    outcome = contextlib.nullcontext() if mode == "plain" else pytest.raises(WorkflowFailureError)
    with outcome:
        await handle.result(rpc_timeout=timedelta(seconds=30))
    if mode == "late":  # Temporal's core knows the token when it cannot complete it, and says so
        warned = service.wait_event("Activity not found on completion")
        assert warned["level"] == "warning"
    assert service.terminate() == 0
    assert "working" in service.output
    token = bytes.fromhex(json.loads(side.read_text())["token"])
    assert_absent(token, service.output)
    assert key not in service.output
    assert _PROMPT not in service.output
    json_lines = service.events  # and every line is JSON
    assert all({"timestamp", "level", "event", "service"} <= e.keys() for e in json_lines)


def assert_absent(token: bytes, text: str) -> None:
    """No 24 characters of any way to write the token are in the text."""
    head = token[:60]  # namespace id and the beginning of the workflow id, with their lengths
    plain = repr(head)[2:-1]
    forms = [plain, plain.replace("\\", "\\\\"), head.decode("latin-1")]
    assert not any(form in text for form in forms)
    encoded = [token.hex(), token.hex().upper(), token.hex(" "), str(list(token))]
    encoded += [base64.b64encode(token[i:]).decode().rstrip("=") for i in range(3)]
    encoded += [base64.urlsafe_b64encode(token[i:]).decode().rstrip("=") for i in range(3)]
    encoded.append("".join(f"\\{b:03o}" for b in token))
    encoded.append("".join(f"\\x{b:02x}" for b in token))
    for form in encoded:
        for i in range(len(form) - 24):
            assert form[i : i + 24] not in text


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    servicer, server = Receiver(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
        servicer, server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    await server.stop(1)


@pytest.mark.parametrize(("sandbox", "fail"), [("false", ""), ("false", "forget"), ("true", "")])
async def test_one_trace_over_grpc_and_temporal(
    run_service: Callable[..., Service], receiver: tuple[Receiver, str], sandbox: str, fail: str
) -> None:
    spans, endpoint = receiver
    service = run_service(
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, STIGMA_WORKFLOW_SANDBOX=sandbox, STIGMA_FAIL=fail
    )
    service.wait_event("ready")
    trace_id, parent = uuid.uuid4().hex, "00f067aa0ba902b7"
    metadata = (("traceparent", f"00-{trace_id}-{parent}-01"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.grpc_port}") as channel:
        start: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/stigma.test.Relay/Start"
        )
        await start(b"ping", metadata=metadata, timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await start(b"leak", metadata=metadata, timeout=30)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
        assert failed.value.details() == "internal error"
    assert await asyncio.to_thread(service.terminate) == 0
    ours = [s for s in spans.spans if s.trace_id.hex() == trace_id]
    assert {s.name for s in ours} >= {
        "/stigma.test.Relay/Start",
        "StartWorkflow:Work",
        "RunWorkflow:Work",
        "StartActivity:work",
        "RunActivity:work",
        "/stigma.test.Relay/Ping",
    }
    ids = [s.span_id for s in ours]
    assert len(ids) == len(set(ids)), "no span twice, replayed or not"
    assert all(s.parent_span_id.hex() == parent or s.parent_span_id in ids for s in ours)
    assert "cannot use" not in str(ours), "the text of an exception is not traced"
    working = next(e for e in service.events if e["event"] == "working")
    assert working["trace_id"] == trace_id


def test_without_an_endpoint_nothing_is_traced(run_service: Callable[..., Service]) -> None:
    service = run_service()
    service.wait_event("ready")
    assert service.terminate() == 0
    assert "trace_id" not in service.output


def test_ctrl_c_is_a_stop_too(run_service: Callable[..., Service]) -> None:
    service = run_service()
    service.wait_event("ready")
    service.process.send_signal(signal.SIGINT)
    assert service.ended() == 0
