"""What tests of traces and of logs share: services that trace, and one call of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.trace_receiver import TraceReceiver
    from tests.observability.traced import Call
    from tests.stack.plugin import StartStack
    from tests.stack.stack import Stack


@pytest.fixture(scope="package")
def traces() -> Iterator[TraceReceiver]:
    """A collector."""
    from tests.integration.trace_receiver import TraceReceiver

    with TraceReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="package")
async def traced_stack(new_package_stack: StartStack, traces: TraceReceiver) -> Stack:
    """Services that trace.

    They alone run workflow code in the SDK's sandbox, as the services' own tests do: it is off in
    production, and costs much of a test's time.
    """
    from tests.observability.traced import apply, environment

    variables = {**environment(traces.endpoint), "STIGMA_WORKFLOW_SANDBOX": "true"}
    stack = await new_package_stack(environment={"*": variables})
    await apply(stack)
    return stack


@pytest.fixture(scope="package")
async def called(traced_stack: Stack, traces: TraceReceiver) -> Call:
    """One call of a Stigma workflow, by a program of its own."""
    from tests.observability.traced import call

    return await call(traced_stack, traces)
