"""Somebody who follows a page: its blocks by name, word for word, in a shell."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta
from time import monotonic

from tests.docs.commands import Command
from tests.docs.pages import Block, Page
from tests.docs.site import Session, WrongDocumentError
from tests.rehearsals.table import Row
from tests.stack.waiting import eventually


class Operator:
    """Follows one page. What is *before* a block for the tests of the documents is left out."""

    def __init__(self, page: Page, session: Session, row: Row) -> None:
        self._page = page
        self._session = session
        self._row = row
        self._began = 0.0

    async def follow(self, name: str, *, code: int = 0) -> str:
        """Do what the block of this name says; returns its output.

        Raises:
            WrongDocumentError: a command ends with another code.
        """
        self._began = self._began or monotonic()
        self._row.blocks.append(name)
        return await self._session.follow(_bare(self._page.block(name), code))

    async def sees(
        self, name: str, *texts: str, code: int = 0, within: timedelta = timedelta(seconds=20)
    ) -> str:
        """Follow a block, again until it ends with this code and shows all of these texts.

        Lists are late by a moment, and what is wrong must last to be told from what is only slow.

        Raises:
            TimeoutError: it does not come to that in time.
        """
        shown = ""

        async def all_of_them() -> str:
            nonlocal shown
            try:
                shown = await self.follow(name, code=code)
            except WrongDocumentError as error:
                shown = str(error)
                return ""
            return shown if all(text in shown for text in texts) else ""

        return await eventually(
            all_of_them, within=within, what=lambda: f"{texts} in {name}:\n{shown}"
        )

    async def types(self, command: str) -> str:
        """Run a command that a page gives in its text, or that another command has printed."""
        self._began = self._began or monotonic()
        return await self._session.run(Command(command))

    async def knows(self, **variables: str) -> None:
        """Set the variables that the page's commands read."""
        for name, value in variables.items():
            await self._session.run(Command(f"{name}={shlex.quote(value)}"))

    def cured(self) -> None:
        """Note that all is well again."""
        self._row.seconds = monotonic() - self._began


def caller_in(shown: str) -> tuple[str, str]:
    """The calling workflow and its activity, as `stigma execution get` shows them."""
    line = next(line for line in shown.splitlines() if line.startswith("caller: "))
    _, workflow, activity = line.split()
    return workflow, activity


def _bare(block: Block, code: int) -> Block:
    kept = [(key, value) for key, value in block.directives if key == "shows"]
    return replace(block, directives=(*kept, *([("exit", str(code))] if code else [])))
