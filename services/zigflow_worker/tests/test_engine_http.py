"""`call: http`: what is sent, and what becomes of the response."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.zigflow_worker.tests.web_server import WebServer, web_server

COMMUNICATION = "https://open-workflow-specification.org/spec/1.0.0/errors/communication"
EXPRESSION = "https://open-workflow-specification.org/spec/1.0.0/errors/expression"


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        yield server


def call(web: WebServer, path: str = "/", *, tasks: str = "", **arguments: Any) -> str:
    """A document's body with one call."""
    with_ = {"method": "get", "endpoint": f"{web.url}{path}", **arguments}
    return f"do:\n  - one: {{call: http, with: {json.dumps(with_)}{tasks}}}\n"


async def test_json_is_parsed_exactly(engine: Any, web: WebServer) -> None:
    text = '{"id": 12345678901234567890123, "price": 0.1, "whole": 1.0}'
    web.answer("/pet/1", text, media_type="application/vnd.pet+json")
    output = await engine.run(call(web, "/pet/1"))
    assert output == {"id": 12345678901234567890123, "price": 0.1, "whole": 1.0}
    assert isinstance(output["whole"], float)
