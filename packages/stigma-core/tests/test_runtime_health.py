from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client import Counter

from stigma.runtime.admin import AdminServer
from stigma.runtime.health import Readiness, keep_checking
from stigma.runtime.metrics import new_registry


def test_ready_when_every_check_is() -> None:
    readiness = Readiness()
    assert not readiness.ready
    seen: list[bool] = []
    readiness.on_change(seen.append)
    readiness.set("a", False, "no")
    readiness.set("b", True)
    assert readiness.reasons() == {"a": "no"}
    readiness.set("a", True, "ignored")
    readiness.set("a", True)
    assert readiness.ready
    assert readiness.reasons() == {}
    readiness.set("b", False)
    assert readiness.reasons() == {"b": "not ready"}
    assert seen == [False, True, False]


async def test_a_probe_decides_its_check() -> None:
    readiness, results = Readiness(), iter([None, RuntimeError("gone"), TimeoutError(), None])
    seen: list[dict[str, str]] = []
    done = asyncio.Event()

    async def probe() -> None:
        if "p" in readiness.checks and not done.is_set():
            seen.append(readiness.reasons())
        result = next(results, done)
        if result is done:
            done.set()
        elif isinstance(result, Exception):
            raise result

    task = asyncio.create_task(keep_checking(readiness, "p", probe, timedelta(0)))
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    assert seen == [{}, {"p": "gone"}, {"p": "no answer within 3 s"}, {}]


async def test_a_cancel_that_comes_with_the_answer_ends_it() -> None:
    answers: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def probe() -> None:
        answer = asyncio.get_running_loop().create_future()
        await answers.put(answer)
        await answer

    checking = asyncio.create_task(keep_checking(Readiness(), "p", probe, timedelta(0)))
    answer = await answers.get()
    answer.set_result(None)
    checking.cancel()
    done, _ = await asyncio.wait({checking}, timeout=10)
    assert done == {checking}
    assert checking.cancelled()


@pytest.fixture
async def admin() -> AsyncIterator[AdminServer]:
    registry = new_registry("svc")
    Counter("things_total", "Things.", registry=registry).inc()
    server = AdminServer(
        "127.0.0.1",
        0,
        readiness=Readiness(),
        metrics=registry,
        sdk_metrics=lambda: "127.0.0.1:1",  # nothing listens there
    )
    assert server.port == 0
    await server.start()
    yield server
    await server.stop()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_own_metrics_survive_a_missing_sdk_exporter(admin: AdminServer) -> None:
    answer = await ask(admin.port, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"things_total 1.0" in answer
    assert b'stigma_service_info{service="svc"} 1.0' in answer


async def test_not_ready_says_so(admin: AdminServer) -> None:
    answer = await ask(admin.port, b"GET /readyz?x=1 HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert answer.endswith(b'{"ready": false, "checks": {}}\n')


async def test_a_request_too_long_or_broken_off_is_dropped(admin: AdminServer) -> None:
    assert await ask(admin.port, b"GET /" + b"x" * 20_000 + b"\r\n\r\n") == b""
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
    writer.write(b"GET /livez")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    assert (await ask(admin.port, b"GET /livez HTTP/1.1\r\n\r\n")).endswith(b"alive\n")


async def test_connections_are_bounded(admin: AdminServer) -> None:
    async def refused() -> bool:
        try:
            return await ask(admin.port, b"GET /livez HTTP/1.1\r\n\r\n") == b""
        except ConnectionResetError:
            return True

    held = [await asyncio.open_connection("127.0.0.1", admin.port) for _ in range(32)]
    for _, writer in held:  # let the server take each up
        writer.write(b"G")
    try:
        async with asyncio.timeout(10):
            while not await refused():
                pass
    finally:
        for _, writer in held:
            writer.close()
