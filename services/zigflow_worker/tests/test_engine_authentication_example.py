"""The worked example of `docs/authentication.md`, as it is written."""

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

TOKEN_PATH = "/realms/north/protocol/openid-connect/token"


@pytest.fixture
async def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    certificate = authority.certificate(
        *(f"{host}.example.com" for host in ("login", "shop", "warehouse"))
    )
    async with web_server(certificate) as web:
        for path, answer in (
            (TOKEN_PATH, {"access_token": "t0ken", "expires_in": 300}),
            ("/orders/7", {"article": "nail"}),
            ("/stock/nail", {"left": 12}),
        ):
            web.answer(path, json.dumps(answer), media_type="application/json")
        yield web


@pytest.fixture
def settings(web: WebServer, secrets: Path) -> EngineSettings:
    """Settings with which the example's hosts are here, and its secrets bound to them."""
    (secrets / "shop").write_text('{"clientSecret": "s3same"}')
    (secrets / "shop.hosts").write_text("login.example.com")
    (secrets / "warehouse").write_text('{"username": "jo", "password": "p"}')
    (secrets / "warehouse.hosts").write_text("warehouse.example.com")
    return EngineSettings(
        secrets_dir=secrets,
        outgoing_allow=("127.0.0.0/8",),
        outgoing_connect_to=(f":443:127.0.0.1:{web.port}",),
    )


async def test_the_example_of_authentication_runs(engine: Any, web: WebServer) -> None:
    text = read_page(ROOT / "docs" / "authentication.md").block("authentication").text
    handle = await engine.start(text, {"id": 7, "realm": "north"}, name="orders")
    assert await handle.result() == {"left": 12}
    token, order, stock = web.seen
    assert (token.path, token.headers["host"]) == (TOKEN_PATH, "login.example.com")
    assert token.body == (
        b"grant_type=client_credentials&scope=orders.read&client_id=orders&client_secret=s3same"
    )
    assert order.headers["authorization"] == "Bearer t0ken"
    assert stock.headers["authorization"] == "Basic am86cA=="
