"""Fixtures of the command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from stigma_cli.app import app

Stigma = Callable[..., Awaitable[Any]]


@pytest.fixture
def stigma(monkeypatch: pytest.MonkeyPatch) -> Stigma:
    """Run the command in a thread of its own, since it has an event loop of its own."""
    for name in ("STIGMA_API_ADDRESS", "STIGMA_API_KEY", "TEMPORAL_ADDRESS", "STIGMA_OUTPUT"):
        monkeypatch.delenv(name, raising=False)

    async def run(*arguments: str, stdin: str = "", **env: str) -> Any:
        texts = [str(each) for each in arguments]
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, texts, input=stdin, env=env))

    return run
