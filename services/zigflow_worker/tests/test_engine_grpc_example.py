"""The worked example of `docs/calls-grpc.md`, as it is written."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, read_page
from zigflow_worker.settings import EngineSettings

from .grpc_servers import PROTOS, grpc_server


@pytest.fixture
async def greeter(tmp_path: Path) -> AsyncIterator[int]:
    async with grpc_server(tmp_path) as port:
        yield port


@pytest.fixture
def settings(tmp_path: Path, greeter: int) -> EngineSettings:
    """Settings with which the example's host is here."""
    shutil.copytree(PROTOS, tmp_path / "resources" / "app")
    return EngineSettings(
        resources_dir=tmp_path / "resources",
        outgoing_allow=("127.0.0.0/8",),
        outgoing_connect_to=(f"greeter.example.com:5011:127.0.0.1:{greeter}",),
    )


async def test_the_example_of_grpc_runs(engine: Any) -> None:
    text = read_page(ROOT / "docs" / "calls-grpc.md").block("grpc").text
    handle = await engine.start(text, {"name": "Ann"}, name="greet")
    assert await handle.result() == ["Hello Ann", "Goodbye"]
