"""Fixtures of the reliability tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.reliability.fault_site import FaultSite, open_site
from tests.stack.plugin import StartStack, TemporalServer


@pytest.fixture(scope="module")
async def running_site(
    new_stack: StartStack, temporal_server: TemporalServer
) -> AsyncIterator[FaultSite]:
    async with open_site(new_stack, temporal_server.address) as site:
        yield site


@pytest.fixture
async def site(running_site: FaultSite) -> AsyncIterator[FaultSite]:
    """The module's site. Whatever a test does to it, each call leads to one execution."""
    yield running_site
    running_site.heal()
    await running_site.check_executions()
