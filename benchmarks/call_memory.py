"""Memory of the engine's worker while it makes many calls at once, each as large as it may be.

A server holds its responses back until all calls have arrived. Calls are activities of workflows
served here, so that the engine's process does nothing but the calls. Every shape has an engine of
its own. The peak is the kernel's (VmHWM), as of the moment before the calls.

    make bench NAME=call_memory ARGS="--calls 200"
    make bench NAME=call_memory ARGS="--shapes lists,grpc"
    make bench NAME=call_memory ARGS="--shapes mix"       all of them at once

The last line is JSON: MiB by shape.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RawValue, RetryPolicy
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.call_memory_servers import PROTO, SHAPES, HeldServer, Shape, held_server
from stigma.contracts.payloads import json_payload
from stigma_cli.devserver import DevServer, find_binary
from tests.stack.stack import Stack

_MIB = 1024 * 1024
_LIMIT = timedelta(minutes=5)
_MIX = "mix"


@workflow.defn
class OneCall:
    """Has the engine make one call; failures of calls are no matter here."""

    @workflow.run
    async def run(self, queue: str, kind: str, request: RawValue) -> bool:
        try:
            await workflow.execute_activity(
                kind,
                request,
                task_queue=queue,
                result_type=RawValue,
                start_to_close_timeout=_LIMIT,
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except Exception:  # noqa: BLE001 - counted
            return False
        return True


async def measure(
    address: str, shapes: Sequence[Shape], calls: int, settings: dict[str, str]
) -> dict[str, float]:
    """Return MiB before and at the peak, seconds, and how many calls brought something.

    Calls are divided among shapes.
    """
    async with AsyncExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        (directory / "resources").mkdir()
        (directory / "resources" / "many.proto").write_text(PROTO)
        servers = [await opened.enter_async_context(held_server(shape)) for shape in shapes]
        settings = {
            "STIGMA_OUTGOING_ALLOW": "127.0.0.0/8",
            "STIGMA_RESOURCES_DIR": str(directory / "resources"),
            **settings,
        }
        stack = Stack(address, directory, services=["zigflow_worker"], environment={"*": settings})
        await opened.enter_async_context(stack)
        client = await Client.connect(address, runtime=_quiet_runtime())
        callers = _Callers(client, f"{stack.prefix}callers", stack.queues.engine)
        await opened.enter_async_context(callers.worker())
        await asyncio.gather(*map(callers.call, shapes, servers, [1] * len(shapes)))
        pid = stack.process("zigflow_worker").pid
        before = psutil.Process(pid).memory_info().rss / _MIB
        _forget_peak(pid)
        began = time.perf_counter()
        each = [calls // len(shapes)] * len(shapes)
        done = sum(await asyncio.gather(*map(callers.call, shapes, servers, each)))
        seconds = time.perf_counter() - began
        return {"before": before, "peak": _peak(pid), "seconds": seconds, "completed": done}


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _quiet_runtime() -> Runtime:
    """Return a runtime that does not warn of each large payload."""
    logging = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    return Runtime(telemetry=TelemetryConfig(logging=logging))


@dataclass(frozen=True)
class _Callers:
    """Workflows that call the engine's activities."""

    client: Client
    queue: str
    engine_queue: str

    def worker(self) -> Worker:
        """Return the worker that serves them."""
        return Worker(
            self.client,
            task_queue=self.queue,
            workflows=[OneCall],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_workflow_tasks=20,
        )

    async def call(self, shape: Shape, server: HeldServer, calls: int) -> int:
        """Make so many calls at once, and return how many brought something."""
        server.expect(calls)
        request = RawValue(json_payload(shape.request(server.url)))
        results = await asyncio.gather(
            *(
                self.client.execute_workflow(
                    OneCall.run,
                    args=[self.engine_queue, shape.activity, request],
                    id=f"call-{uuid.uuid4()}",
                    task_queue=self.queue,
                    execution_timeout=_LIMIT,
                )
                for _ in range(calls)
            )
        )
        return sum(results)


async def run(shapes: Sequence[str], calls: int, settings: dict[str, str]) -> None:
    """Measure each shape, and print."""
    figures: dict[str, float] = {}
    print(f"{'shape':<12} {'before':>8} {'peak':>8} {'seconds':>8} {'completed':>9}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        async with DevServer(find_binary(), log=Path(directory, "temporal.log")) as server:
            for name in shapes:
                chosen = list(SHAPES.values()) if name == _MIX else [SHAPES[name]]
                found = await measure(server.address, chosen, calls, settings)
                figures[name] = round(found["peak"], 1)
                print(
                    f"{name:<12} {found['before']:>8.0f} {found['peak']:>8.0f}"
                    f" {found['seconds']:>8.1f} {found['completed']:>9.0f}",
                    flush=True,
                )
    print(json.dumps(figures))


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    names = ",".join([*SHAPES, _MIX])
    parser.add_argument("--shapes", default=names, help=f"of: {names}")
    parser.add_argument("--set", action="append", default=[], metavar="VARIABLE=VALUE")
    asked = parser.parse_args()
    settings = dict(each.split("=", 1) for each in asked.set)
    asyncio.run(run(asked.shapes.split(","), asked.calls, settings))


if __name__ == "__main__":
    main()
