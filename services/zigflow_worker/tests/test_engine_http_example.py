"""The worked example of `docs/calls.md`, as it is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.zigflow_worker.tests.certificates import Authority
from services.zigflow_worker.tests.web_server import WebServer, web_server
from tests.docs.pages import ROOT, read_page
from zigflow_worker.settings import EngineSettings


@pytest.fixture
async def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    certificate = authority.certificate("shop.example.com", "chat.example.com")
    async with web_server(certificate) as web:
        order = json.dumps({"id": 7, "total": 12.5})
        web.answer("/orders/7", order, media_type="application/json")
        web.answer("/messages", status_code=202)
        yield web


@pytest.fixture
def settings(web: WebServer, secrets: Path) -> EngineSettings:
    """Settings with which the example's hosts are here."""
    (secrets / "shop").mkdir()
    (secrets / "shop" / "key").write_text("s3same")
    (secrets / "shop.hosts").write_text("*.example.com")
    return EngineSettings(
        secrets_dir=secrets,
        outgoing_allow=("127.0.0.0/8",),
        outgoing_connect_to=(f":443:127.0.0.1:{web.port}",),
    )


async def test_the_example_of_http_runs(engine: Any, web: WebServer) -> None:
    text = read_page(ROOT / "docs" / "calls.md").block("http").text
    data = {"id": 7, "host": "chat.example.com"}
    handle = await engine.start(text, data, name="order-status")
    assert await handle.result() == {"status": 202}
    order, message = web.seen
    assert (order.path, order.query) == ("/orders/7", "fields=id&fields=total")
    assert order.headers["x-api-key"] == "s3same"
    assert order.headers["host"] == "shop.example.com"
    assert json.loads(message.body) == {"text": "Order 7 costs 12.5"}
