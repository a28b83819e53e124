"""One installation for the examples, behind keys, with scripted agents and small workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.callers.programs import LANGUAGES, Language, ProgramRuns, archive_classes, build
from tests.stack.plugin import StartStack
from tests.stack.tables import add_table

if TYPE_CHECKING:
    from tests.callers.caller_site import CallerSite
    from tests.integration.trace_receiver import TraceReceiver


def pytest_configure(config: pytest.Config) -> None:
    """Show the examples' runs, of tests that passed too."""
    add_table(config, ProgramRuns())


@pytest.fixture(params=list(LANGUAGES))
async def language(request: pytest.FixtureRequest, site: CallerSite) -> Language:
    """Each language, its program built."""
    if request.param != "python":
        build(request.param)
    if request.param == "java":
        await archive_classes(site.settings())
    return LANGUAGES[request.param]


@pytest.fixture(scope="module")
def traces() -> Iterator[TraceReceiver]:
    """A collector."""
    from tests.integration.trace_receiver import TraceReceiver

    with TraceReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
async def site(
    new_stack: StartStack, traces: TraceReceiver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CallerSite]:
    """The four services, which trace, agents and workflows."""
    from tests.callers.caller_site import CallerSite, environment
    from tests.observability import traced

    directory = tmp_path_factory.mktemp("callers")
    tracing = {"*": traced.environment(traces.endpoint)}
    stack = await new_stack(environment={**tracing, **environment(directory)})
    async with CallerSite(stack, directory) as site:
        yield site
