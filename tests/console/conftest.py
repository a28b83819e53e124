"""A real installation with a console, and Chromium to look at it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.console.console_browser import ConsoleBrowser
    from tests.stack.plugin import StartStack

_HOW_TO_GET = "Chromium is not installed: apt-get install chromium"
_CONSOLE = {
    "STIGMA_CONSOLE_ENABLED": "true",
    "STIGMA_CONSOLE_PORT": "0",
    "STIGMA_CONSOLE_TEMPORAL_UI_URL": "http://localhost:8233",
}
# Nothing that needs a display, a graphics card or the internet.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's browser, without a window."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip(_HOW_TO_GET)
    from playwright.async_api import async_playwright, expect

    from tests.console.console_browser import PATIENCE

    expect.set_options(timeout=PATIENCE)  # five seconds otherwise
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def console(
    chromium: Browser, new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ConsoleBrowser]:
    """Four services, callers, and the console's address."""
    from tests.console.console_browser import ConsoleBrowser
    from tests.integration.installation import Installation, environment
    from tests.integration.model_gate import ModelGate

    directory = tmp_path_factory.mktemp("installation")
    async with ModelGate() as gate:
        variables: dict[str, Any] = dict(environment(gate, directory))
        variables["stigma_api"] = variables["stigma_api"] | _CONSOLE
        stack = await new_stack(environment=variables)
        listening = await stack.wait_for_event("stigma_api", "console_listening")
        async with Installation(stack, gate, directory) as installation:
            yield ConsoleBrowser(installation, chromium, str(listening["url"]).rstrip("/"))
