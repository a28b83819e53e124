"""One installation for all of these tests; a test that changes services starts its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.installation import Installation
    from tests.integration.workflow_calls import WorkflowCalls
    from tests.stack.plugin import StartStack


@pytest.fixture(scope="package")
async def installation(
    new_package_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Four services, a model under control, and callers of every kind."""
    from tests.integration.installation import Installation, environment
    from tests.integration.model_gate import ModelGate

    directory = tmp_path_factory.mktemp("installation")
    async with ModelGate() as gate:
        stack = await new_package_stack(environment=environment(gate, directory))
        async with Installation(stack, gate, directory) as installation:
            yield installation


@pytest.fixture(scope="package")
async def workflows(installation: Installation) -> AsyncIterator[WorkflowCalls]:
    """The installation's workflow executions, and callers of them."""
    from tests.integration.workflow_calls import WorkflowCalls

    async with WorkflowCalls(installation) as workflows:
        yield workflows
