"""A small service, run as a process by the tests: a worker, and a gRPC server beside it.

Its workflow and activities misbehave on demand. What a test must know but no log may say (the
task token) is written to the file named by SIDE_FILE.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from temporalio import activity, workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    import grpc
    import grpc.aio
    import structlog
    from temporalio.client import Client
    from temporalio.worker import Worker

    from stigma.contracts.payloads import DATA_CONVERTER
    from stigma.runtime import (
        Component,
        ConfigurationError,
        GrpcServerComponent,
        RpcMetrics,
        ServiceRuntime,
        ServiceSettings,
        WorkerComponent,
        load_settings,
        serve,
        worker_options,
    )
    from stigma_client import ApiConnection

PROMPT = "the prompt nobody may read"
SERVICE = "stigma.test.Relay"


class Settings(ServiceSettings):
    task_queue: str = Field("runtime-test", description="Task queue.")
    side_file: Path = Field(Path(os.devnull), description="File that gets the token, for the test.")
    key: SecretStr = Field(SecretStr(""), description="A provider's key.")
    fail: str = Field("", description="How to go wrong.")
    grpc_port: int = Field(0, description="Port of the gRPC server.")


class Activities:
    def __init__(self, settings: Settings, connection: ApiConnection) -> None:
        self._settings = settings
        self._connection = connection
        self._ping: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = connection.channel.unary_unary(
            f"/{SERVICE}/Ping"
        )

    @activity.defn(name="work")
    async def work(self, mode: str, prompt: str) -> str:
        log = structlog.get_logger()
        token = activity.info().task_token
        self._settings.side_file.write_text(json.dumps({"token": token.hex()}))
        log.info("working", mode=mode, loop=type(asyncio.get_running_loop()).__module__)
        if mode == "slow":
            while self._settings.side_file.exists():  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.02)
        if mode == "stubborn":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    log.info("ignored_cancel")
        if mode == "late":  # beyond its start-to-close timeout: the server forgets the token
            await asyncio.sleep(4.5)
        if mode == "ping":
            await self._ping(b"", metadata=self._connection.metadata())
        if mode == "leak":
            key = self._settings.key.get_secret_value()
            log.debug("leaking", value=token, text=f"{token!r} {token.hex()}", k=key)
            logging.getLogger("some.library").warning("token %s for %s", token, {"t": token})
            logging.getLogger("some.library").debug("body %s", prompt)
            raise RuntimeError(f"cannot use {token!r} with {key}")
        return prompt


@workflow.defn(name="Work")
class WorkWorkflow:
    @workflow.run
    async def run(self, mode: str) -> str:
        workflow.logger.info("work_asked", extra={"mode": mode})
        limit = timedelta(seconds=3 if mode == "late" else 60)
        answer: str = await workflow.execute_activity(
            "work",
            args=[mode, PROMPT],
            result_type=str,
            start_to_close_timeout=limit,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return answer


class Relay:
    """Start: starts a workflow in the mode asked and returns its result. Ping: nothing."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client, self._settings = client, settings

    async def start(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        mode = request.decode()
        handle = await self._client.start_workflow(
            WorkWorkflow.run, mode, id=str(uuid.uuid4()), task_queue=self._settings.task_queue
        )
        return (await handle.result()).encode()

    async def ping(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return b""

    def register(self, server: grpc.aio.Server) -> None:
        methods = {"Start": self.start, "Ping": self.ping}
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            n: grpc.unary_unary_rpc_method_handler(m) for n, m in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


async def build(runtime: ServiceRuntime) -> Sequence[Component]:
    settings = runtime.settings
    assert isinstance(settings, Settings)
    if settings.fail == "build":
        raise ConfigurationError("this cannot work")
    if settings.fail == "sdk_debug":  # as a user might, to see more
        logging.getLogger("temporalio").setLevel(logging.DEBUG)
        for handler in logging.getLogger().handlers:
            handler.setLevel(logging.NOTSET)
        logging.getLogger().setLevel(logging.DEBUG)
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    connection = ApiConnection(f"localhost:{settings.grpc_port}")
    runtime.resources.push_async_callback(connection.close)
    worker = Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[WorkWorkflow],
        activities=[Activities(settings, connection).work],
        # Without a cache every workflow task replays from the beginning.
        max_cached_workflows=0 if settings.fail == "forget" else 1000,
        **worker_options(settings),
    )
    if settings.fail == "later":
        runtime.spawn(_fail_later())
    if settings.fail == "swallow two cancels":
        runtime.spawn(_continue_after(cancels=2))
    if settings.fail == "swallow cancels":
        runtime.spawn(_continue_after(cancels=1000))
    server = GrpcServerComponent(
        runtime.readiness,
        host="127.0.0.1",
        port=settings.grpc_port,
        services=[SERVICE],
        register=Relay(client, settings).register,
        interceptors=[*runtime.telemetry.server_interceptors(), RpcMetrics(runtime.metrics)],
    )
    return [WorkerComponent("worker", worker, runtime.readiness), server]


async def _fail_later() -> None:
    await asyncio.sleep(0.5)
    raise RuntimeError("it broke")


async def _continue_after(cancels: int) -> None:
    for _ in range(cancels + 1):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


if __name__ == "__main__":
    serve("runtime_service", load_settings(Settings, "runtime_service"), build)
    sys.exit(3)  # not reached
