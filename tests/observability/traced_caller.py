"""A program of somebody who calls a Stigma workflow and traces: runs one workflow, tells its ids.

`python -m tests.observability.traced_caller QUEUE WORKFLOW`; it is configured by TEMPORAL_*,
STIGMA_API_* and OTEL_* variables alone. Its log is JSON lines on stderr.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import uuid

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from temporalio import workflow
from temporalio.client import Client
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker

from stigma_client import StigmaPlugin, run_workflow


@workflow.defn
class PlaceOrder:
    """Runs one Stigma workflow; returns its ids."""

    @workflow.run
    async def run(self, name: str) -> dict[str, str]:
        result = await run_workflow(name, input={"message": "hello"})
        request_id = result.execution.spec.request_id
        return {"execution_id": result.execution_id, "request_id": request_id}


class Lines(logging.Handler):
    """Our own log, as any user's: one JSON line a record, with its ids and the trace's."""

    def emit(self, record: logging.LogRecord) -> None:
        context = trace.get_current_span().get_span_context()
        line = {
            key: value
            for key, value in record.__dict__.items()
            if isinstance(value, str | int) and not key.startswith("_")
        }
        line |= {"event": record.getMessage(), "trace_id": trace.format_trace_id(context.trace_id)}
        sys.stderr.write(json.dumps(line) + "\n")


async def main(queue: str, name: str) -> None:
    logging.getLogger("stigma_client").addHandler(Lines())
    logging.getLogger("stigma_client").setLevel(logging.INFO)
    provider = create_tracer_provider(resource=Resource.create({SERVICE_NAME: "shop"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    client = await Client.connect(
        **ClientConfig.load_client_connect_config(),
        plugins=[OpenTelemetryPlugin(add_temporal_spans=True)],
    )
    plugin = StigmaPlugin.from_environment()
    async with Worker(client, task_queue=queue, workflows=[PlaceOrder], plugins=[plugin]):
        with trace.get_tracer("shop").start_as_current_span("checkout") as span:
            result = await client.execute_workflow(
                PlaceOrder.run,
                name,
                id=f"order-{uuid.uuid4().hex}",
                task_queue=queue,
            )
    await asyncio.to_thread(provider.shutdown)
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    sys.stdout.write(json.dumps(result | {"trace_id": trace_id}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    sys.stdout.flush()
    # As the services: threads of the SDK's core may call into an interpreter that is ending.
    os._exit(0)
