"""Fixtures of the command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from stigma_cli.app import app
from tests.stack.plugin import TemporalServer, started_stacks

if TYPE_CHECKING:
    from tests.stack.stack import Stack

Stigma = Callable[..., Awaitable[Any]]


@pytest.fixture
def stigma(monkeypatch: pytest.MonkeyPatch) -> Stigma:
    """Run the command in a thread of its own, since it has an event loop of its own.

    It does not note that a server is slow: on a busy machine each is, and lines are compared.
    """
    monkeypatch.setattr("stigma_cli.slow_answers.NOTE_AFTER_SECONDS", 3600.0)
    for name in ("STIGMA_API_ADDRESS", "STIGMA_API_KEY", "TEMPORAL_ADDRESS", "STIGMA_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    async def run(*arguments: str, stdin: str | bytes = "", **env: str) -> Any:
        texts = [str(each) for each in arguments]
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, texts, input=stdin, env=env))

    return run


@pytest.fixture(scope="package")
async def stack(
    request: pytest.FixtureRequest,
    temporal_server: TemporalServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stack]:
    """The four services, shared by all tests of the command."""
    async with started_stacks(request, temporal_server, tmp_path_factory) as start:
        yield await start(environment={"stigma_api": {"STIGMA_TOOL_TASK_QUEUES": "t*-tools"}})


@pytest.fixture(scope="package")
async def env(stack: Stack) -> dict[str, str]:
    """The environment that points the command at the stack."""
    return {
        "STIGMA_API_ADDRESS": stack.api_address,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "TEMPORAL_NAMESPACE": stack.namespace,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }
