"""One installation for the examples, behind keys, with scripted agents and small workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.callers.programs import LANGUAGES, RUNS, Language, archive_classes, build
from tests.stack.plugin import StartStack

if TYPE_CHECKING:
    from tests.callers.site import Site


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the examples' runs, of tests that passed too."""
    if RUNS:
        terminalreporter.section("callers of every language")
        for line in [line for run in RUNS for line in run.summary()]:
            terminalreporter.write_line(line)


@pytest.fixture(params=list(LANGUAGES))
async def language(request: pytest.FixtureRequest, site: Site) -> Language:
    """Each language, its program built."""
    if request.param != "python":
        build(request.param)
    if request.param == "java":
        await archive_classes(site.settings())
    return LANGUAGES[request.param]


@pytest.fixture(scope="module")
async def site(
    new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """The four services, agents and workflows."""
    from tests.callers.site import Site, environment

    directory = tmp_path_factory.mktemp("callers")
    stack = await new_stack(environment=environment(directory))
    async with Site(stack, directory) as site:
        yield site
