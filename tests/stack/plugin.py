"""pytest plugin: a Temporal server, PostgreSQL and the four services, started when asked for.

Imports of what takes long are in the fixtures, because unit tests load this module too.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.stack.contract import ContractTable
from tests.stack.skips import NoSkips, SkippedTests, skips_are_failures
from tests.stack.tables import add_table
from tests.stack.tools_contract import ToolsContractTable

if TYPE_CHECKING:
    from tests.stack.stack import Stack

StartStack = Callable[..., Awaitable["Stack"]]
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class TemporalServer:
    """The Temporal server that tests share."""

    address: str
    namespace: str


class RunningStacks:
    """Puts the ends of the services' logs into the report of a test that failed."""

    def __init__(self) -> None:
        self.stacks: list[Stack] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            for stack in self.stacks:
                report.sections += [(f"log of {name}", tail) for name, tail in stack.tails()]
        return report


_RUNNING: pytest.StashKey[RunningStacks] = pytest.StashKey()


def running_stacks(config: pytest.Config) -> list[Stack]:
    """The stacks whose logs are shown when a test fails; who starts one adds it."""
    return config.stash[_RUNNING].stacks


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RUNNING] = RunningStacks()
    config.pluginmanager.register(config.stash[_RUNNING], "stigma-running-stacks")
    for table in (ContractTable(), ToolsContractTable()):
        config.pluginmanager.register(table, f"stigma-{table.name}-table")
        add_table(config, table)
    config.pluginmanager.register(SkippedTests(), "stigma-skipped-tests")
    if skips_are_failures():
        config.pluginmanager.register(NoSkips(), "stigma-no-skips")


@pytest.fixture(scope="session", autouse=True)
def _patient_where_measured(request: pytest.FixtureRequest) -> None:
    """Where coverage is measured, workers of every test are patient, as those at a server are."""
    import coverage

    if coverage.Coverage.current() is not None:
        request.getfixturevalue("_patient_workers")


@pytest.fixture(scope="session")
def _patient_workers() -> None:
    """Workers give workflow code longer than the SDK's two seconds, by the clock.

    A machine that is busy may take longer, above all where coverage is measured. What takes too
    long is interrupted wherever it is, and where that is under a lock of coverage's, the whole
    process hangs.
    """
    from temporalio.worker._workflow import _WorkflowWorker

    make: Any = _WorkflowWorker.__init__

    def make_patient(worker: Any, **options: Any) -> None:
        make(worker, **options)
        worker._deadlock_timeout_seconds = _PATIENCE_SECONDS

    patient: Any = make_patient
    _WorkflowWorker.__init__ = patient  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def temporal_binary() -> Path:
    """The `temporal` program, for tests that start servers of their own."""
    from stigma_cli.devserver import DevServerError, find_binary

    try:
        return find_binary()
    except DevServerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
async def temporal_server(
    request: pytest.FixtureRequest, _patient_workers: None
) -> AsyncIterator[TemporalServer]:
    """The server at TEMPORAL_ADDRESS, else a tuned dev server for this test run."""
    address = os.environ.get("TEMPORAL_ADDRESS")
    if address:
        namespace = os.environ.get("TEMPORAL_NAMESPACE", "default")
        yield TemporalServer(address, namespace)
        return
    from stigma_cli.devserver import DevServer

    async with DevServer(request.getfixturevalue("temporal_binary")) as server:
        yield TemporalServer(server.address, server.namespace)


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """SQLAlchemy's URL of an empty PostgreSQL database of this test run."""
    from tests.stack import postgres

    binaries = postgres.find_binaries()
    if binaries is None:
        pytest.skip(postgres.HOW_TO_GET)
    async with postgres.postgres(binaries) as url:
        yield url


@pytest.fixture(scope="module")
async def new_stack(
    request: pytest.FixtureRequest,
    temporal_server: TemporalServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[StartStack]:
    """Start a stack with options of `Stack`; it is closed at the module's end."""
    async with started_stacks(request, temporal_server, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="package")
async def new_package_stack(
    request: pytest.FixtureRequest,
    temporal_server: TemporalServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[StartStack]:
    """As `new_stack`, but closed at the package's end."""
    async with started_stacks(request, temporal_server, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
async def stack(new_stack: StartStack) -> Stack:
    """The four services with default settings, shared by a module's tests."""
    return await new_stack()


@asynccontextmanager
async def started_stacks(
    request: pytest.FixtureRequest,
    temporal_server: TemporalServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[StartStack]:
    """Have stacks started with options of `Stack`, and close them at the end."""
    from tests.stack.stack import Stack

    running = running_stacks(request.config)
    async with AsyncExitStack() as open_stacks:

        async def start(temporal_address: str | None = None, **options: Any) -> Stack:
            stack = Stack(
                temporal_address or temporal_server.address,
                tmp_path_factory.mktemp("stack"),
                namespace=temporal_server.namespace,
                **options,
            )
            running.append(stack)
            open_stacks.callback(running.remove, stack)
            return await open_stacks.enter_async_context(stack)

        yield start
