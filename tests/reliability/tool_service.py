"""A worker of tools as a process, which knows nothing of Stigma but the header of a call.

`python -m tests.reliability.tool_service`; it lives as Stigma's own services do, so that it can be
started, killed and read like them. Each effect is a line of the file TOOL_EFFECTS: the key of the
call, written before the activity goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.converter import DataConverter
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    Worker,
)
from typing_extensions import override

from stigma.runtime import (
    Component,
    ServiceRuntime,
    ServiceSettings,
    WorkerComponent,
    load_settings,
    serve,
    worker_options,
)

QUEUE = "tools"
EFFECTS = "TOOL_EFFECTS"


class Effects:
    """Activities whose effect is a line of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @activity.defn(name="act")
    async def act(self, arguments: dict[str, Any]) -> Any:
        """Have an effect, take `seconds`, heartbeating, and return `value`."""
        with self._path.open("a", encoding="utf-8") as effects:
            effects.write(f"{activity.info().workflow_id}/{arguments['call']}\n")
        for _ in range(int(arguments["seconds"] / 0.05)):
            activity.heartbeat()
            await asyncio.sleep(0.05)
        return arguments["value"]


class CallOfHeader(Interceptor):
    """Hands the call's id to the activity as an argument."""

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _CallOfHeader(next)


class _CallOfHeader(ActivityInboundInterceptor):
    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        header = json.loads(input.headers["stigma-call"].data)
        assert header["idempotency_key"] == f"{header['execution']}/{header['call']}"
        [arguments] = input.args
        input.args = [{**arguments, "call": header["call"]}]
        return await super().execute_activity(input)


async def build(runtime: ServiceRuntime) -> Sequence[Component]:
    """Build the one worker."""
    worker = Worker(
        await runtime.connect_temporal(data_converter=DataConverter.default),
        task_queue=runtime.settings.task_queue_prefix + QUEUE,
        activities=[Effects(Path(os.environ[EFFECTS])).act],
        interceptors=[CallOfHeader()],
        **worker_options(runtime.settings),
    )
    return [WorkerComponent("tools", worker, runtime.readiness)]


def main() -> int:
    """Run until told to stop."""
    return serve("tools", load_settings(ServiceSettings, "tools"), build)


if __name__ == "__main__":
    sys.exit(main())
