"""A worker process of `benchmarks.handshake`, with the SDK's defaults.

Usage: python -m benchmarks.handshake_worker caller|child TEMPORAL_ADDRESS TASK_QUEUE API_ADDRESS
METRICS_PORT. Runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker

from benchmarks.handshake_modes import PatientCaller, PythonCaller
from benchmarks.handshake_native import (
    BareActivity,
    Child,
    ChildWorkflow,
    WrappedDocument,
    answer,
)
from stigma_client import StigmaPlugin


async def main(role: str, temporal: str, task_queue: str, api: str, metrics_port: str) -> None:
    """Work until told to stop."""
    metrics = PrometheusConfig(bind_address=f"127.0.0.1:{metrics_port}")
    runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics))
    client = await Client.connect(temporal, runtime=runtime)
    if role == "child":
        worker = Worker(
            client, task_queue=f"{task_queue}-child", workflows=[Child], activities=[answer]
        )
    else:
        worker = Worker(
            client,
            task_queue=task_queue,
            workflows=[BareActivity, ChildWorkflow, WrappedDocument, PythonCaller, PatientCaller],
            activities=[answer],
            plugins=[StigmaPlugin(api)],
        )
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with worker:
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
