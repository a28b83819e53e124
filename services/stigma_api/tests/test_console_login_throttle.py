"""Wrong API keys are few: of a browser, of a program, and of those behind a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.stigma_api.tests.api_server import Api
from services.stigma_api.tests.consoles import api_with_console, http_client
from stigma_api.console.login_throttle import BURST, LoginThrottle, TooManyAttemptsError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(throttle: LoginThrottle, address: str) -> None:
    throttle.check(address)
    throttle.record_failure(address)


def waits(throttle: LoginThrottle, address: str) -> float:
    with pytest.raises(TooManyAttemptsError) as caught:
        throttle.check(address)
    return caught.value.wait.total_seconds()


def test_tries_come_back_one_by_one() -> None:
    clock = Clock()
    throttle = LoginThrottle(clock)
    for _ in range(BURST):
        fail(throttle, "192.0.2.1")
    assert waits(throttle, "192.0.2.1") == pytest.approx(6)
    throttle.check("192.0.2.2")
    clock.now += 5.9
    assert waits(throttle, "192.0.2.1") == pytest.approx(0.1)
    clock.now += 0.2
    fail(throttle, "192.0.2.1")
    assert waits(throttle, "192.0.2.1") == pytest.approx(5.9)
    clock.now += 3600
    for _ in range(BURST):
        fail(throttle, "192.0.2.1")
    assert waits(throttle, "192.0.2.1") == pytest.approx(6)


def test_a_network_of_ipv6_is_one_address() -> None:
    throttle = LoginThrottle(Clock())
    for host in range(BURST):
        fail(throttle, f"2001:db8:0:1::{host}")
    assert waits(throttle, "2001:db8:0:1:ffff::1") == pytest.approx(6)
    throttle.check("2001:db8:0:2::1")
    throttle.check("not an address")


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stigma_api.console.login_throttle._MAX_ADDRESSES", 3)
    throttle = LoginThrottle(Clock())
    for _ in range(BURST):
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            fail(throttle, address)
    throttle.record_failure("192.0.2.4")
    throttle.check("192.0.2.1")
    for address in ("192.0.2.2", "192.0.2.3"):
        assert waits(throttle, address) == pytest.approx(6)


@pytest.fixture
async def guarded(
    temporal_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Api]:
    """A console that gives no try back while a test goes on, however slow the machine."""
    monkeypatch.setattr("stigma_api.console.login_throttle._REFILL_INTERVAL", timedelta(hours=1))
    async with api_with_console(temporal_server.address, tmp_path) as api:
        yield api


async def sign_in(browser: httpx2.AsyncClient, key: str, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await browser.post("/login", data={"key": key}, headers=named)


async def test_who_guesses_is_told_to_wait(guarded: Api) -> None:
    async with http_client(guarded) as browser, http_client(guarded) as signed_in:
        assert (await sign_in(signed_in, "caller-key")).status_code == 303
        for guess in range(BURST):
            assert (await sign_in(browser, f"guess-{guess}")).status_code == 401
        for key in ("one more", "caller-key"):
            answer = await sign_in(browser, key)
            assert answer.status_code == 429
            assert 3500 < int(answer.headers["retry-after"]) <= 3600
            assert "Too many wrong API keys" in answer.text
            assert "set-cookie" not in answer.headers
        assert (await browser.get("/login")).status_code == 200
        assert (await signed_in.get("/agents")).status_code == 200
    async with http_client(guarded, "caller") as program:
        assert (await program.get("/agents")).status_code == 200
        wrong = {"authorization": "Bearer wrong"}
        for _ in range(BURST):
            assert (await program.get("/agents", headers=wrong)).status_code == 401
        for headers in (wrong, {}):
            answer = await program.get("/agents", headers=headers)
            assert (answer.status_code, "retry-after" in answer.headers) == (429, True)


async def test_a_trusted_proxy_says_who_guesses(guarded: Api) -> None:
    async with http_client(guarded) as proxy:
        for _ in range(BURST):
            await sign_in(proxy, "wrong", x_forwarded_for="192.0.2.1")
        # What a client wrote there itself comes first, and says nothing.
        spoofed = await sign_in(proxy, "wrong", x_forwarded_for="192.0.2.9, 192.0.2.1")
        assert spoofed.status_code == 429
        other = await sign_in(proxy, "caller-key", x_forwarded_for="192.0.2.2")
        assert other.status_code == 303
    elsewhere = httpx2.AsyncHTTPTransport(local_address="127.0.0.2")
    async with http_client(guarded, transport=elsewhere) as stranger:
        for number in range(BURST):
            await sign_in(stranger, "wrong", x_forwarded_for=f"192.0.2.{100 + number}")
        answer = await sign_in(stranger, "wrong", x_forwarded_for="192.0.2.200")
        assert answer.status_code == 429
