"""One installation for all of these tests; a test that changes services starts its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from stigma.contracts.executions import Kind

if TYPE_CHECKING:
    from tests.integration.executions import AnyExecutions, WorkflowExecutions
    from tests.integration.installation import Installation
    from tests.stack.plugin import StartStack


@pytest.fixture(scope="package")
async def installation(
    new_package_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Four services, a model under control, and callers of every kind."""
    from tests.integration.installation import open_installation

    directory = tmp_path_factory.mktemp("installation")
    async with open_installation(new_package_stack, directory) as installation:
        yield installation


@pytest.fixture(scope="package")
async def workflows(installation: Installation) -> WorkflowExecutions:
    """The installation's executions of workflows, which are applied."""
    return await installation.apply_workflows()


@pytest.fixture(params=[pytest.param(kind, id=kind) for kind in Kind])
def executions(
    request: pytest.FixtureRequest, installation: Installation, workflows: WorkflowExecutions
) -> AnyExecutions:
    """The installation's executions of each kind."""
    return installation if request.param is Kind.AGENT else workflows
