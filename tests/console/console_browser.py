"""Somebody at a browser: pages, what is wrong with them, and pictures for the documents."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.console.recording import Recording
from tests.integration.installation import KEY, Installation

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "images"
# A picture is the same on the next machine as little as a time is: none is made by accident.
TAKES_PICTURES = os.environ.get("STIGMA_SCREENSHOTS") == "1"
# Services and workers share few cores with the browser.
PATIENCE = 60_000.0


@dataclass
class ConsoleBrowser:
    """The installation, a browser, and where the console is."""

    installation: Installation
    browser: Browser
    url: str

    @asynccontextmanager
    async def seated(self, *, signed_in: bool = True, **options: Any) -> AsyncIterator[Page]:
        """A page of a new browser; fails when anything on it went wrong."""
        given = {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"}
        context = await self.browser.new_context(**(given | options))
        context.set_default_timeout(PATIENCE)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("console", lambda said: _keep(complaints, said))
        try:
            if signed_in:
                await page.goto(f"{self.url}/login")
                await page.get_by_label("API key").fill(KEY)
                await page.get_by_role("button", name="Sign in").click()
                await expect(page.get_by_role("heading", name="Executions")).to_be_visible()
            yield page
        finally:
            await context.close()
        # Chromium says this of the answer 401, which is the door itself.
        unexpected = [said for said in complaints if "401 (Unauthorized)" not in said]
        assert unexpected == []

    async def picture(self, page: Page, name: str, of: Locator | None = None) -> None:
        """Keep a picture for the documents, when pictures are to be made; wait for ``of`` first."""
        if TAKES_PICTURES:
            if of is not None:
                await expect(of).to_be_visible(timeout=PATIENCE)
            await page.screenshot(
                path=PICTURES / f"console-{name}.png", full_page=True, animations="disabled"
            )

    @asynccontextmanager
    async def filmed(self, page: Page, name: str) -> AsyncIterator[Recording]:
        """Keep a moving picture for the documents, when pictures are to be made."""
        recording = Recording(page, PICTURES / f"console-{name}.webp", TAKES_PICTURES, PATIENCE)
        await recording.begin()
        yield recording
        recording.end()


async def assert_accessible(page: Page) -> None:
    """Expect axe-core to find nothing wrong with a page."""
    results = await Axe().run(page)
    found = [
        f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']][:3]}"
        for each in results.response["violations"]
    ]
    assert found == [], (page.url, found)


def _keep(complaints: list[str], said: ConsoleMessage) -> None:
    if said.type in {"error", "warning"}:
        complaints.append(said.text)


def steps(html: str) -> list[str]:
    """The steps of a timeline, in their order on the page."""
    return re.findall(r'data-step="(\w+)"', html)
