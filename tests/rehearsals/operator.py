"""Somebody who follows a page: its blocks by name, word for word, in a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic

from tests.docs.commands import Command, commands_of
from tests.docs.documented_site import Session, WrongDocumentError
from tests.docs.pages import Page
from tests.rehearsals.table import Row
from tests.stack.waiting import eventually

# Lists are late by a moment, and what is wrong must last to be told from what is only slow.
_WITHIN = timedelta(seconds=60)


class Operator:
    """Follows one page. What is *before* a block is for the tests of the documents: left out."""

    def __init__(self, page: Page, session: Session, row: Row) -> None:
        self._page = page
        self._session = session
        self._row = row
        self._began = 0.0

    async def follow(self, name: str, *, doctor: int = 0) -> str:
        """Do what the block of this name says; returns its output.

        Raises:
            WrongDocumentError: `stigma doctor` ends with another code, or any other with not 0.
        """
        self._began = self._began or monotonic()
        self._row.blocks.append(name)
        block = self._page.block(name)
        output = ""
        for command in commands_of(block):
            code = doctor if command.text.startswith("stigma doctor") else 0
            try:
                output += await self._session.run(command, code)
            except WrongDocumentError as error:
                raise WrongDocumentError(f"{block.place}: {error}") from None
        return output

    async def sees(self, name: str, *texts: str) -> str:
        """Follow a block, again until it shows all of these texts.

        Raises:
            TimeoutError: it does not show them in time.
        """
        return await self._until_shown(name, texts, doctor=0)

    async def is_told(self, name: str, *texts: str) -> str:
        """Follow a block, again until `stigma doctor` finds something wrong and says all of this.

        Raises:
            TimeoutError: it does not come to that in time.
        """
        return await self._until_shown(name, texts, doctor=1)

    async def types(self, command: str) -> str:
        """Run a command that a page gives in its text, or that another command has printed."""
        self._began = self._began or monotonic()
        return await self._session.run(Command(command))

    async def prepares(self, command: str) -> None:
        """Run a command that the fault is made with."""
        await self._session.run(Command(command))

    async def knows(self, **variables: str) -> None:
        """Set the variables that the page's commands read."""
        for name, value in variables.items():
            await self._session.run(Command(f"{name}={shlex.quote(value)}"))

    def cured(self) -> None:
        """Note that all is well again."""
        self._row.seconds = monotonic() - self._began

    async def _until_shown(self, name: str, texts: Sequence[str], *, doctor: int) -> str:
        shown = ""

        async def all_of_them() -> str:
            nonlocal shown
            try:
                shown = await self.follow(name, doctor=doctor)
            except WrongDocumentError as error:
                shown = str(error)
                return ""
            return shown if all(text in shown for text in texts) else ""

        return await eventually(
            all_of_them, within=_WITHIN, what=lambda: f"{texts} in {name}:\n{shown}"
        )


def caller_in(shown: str) -> tuple[str, str]:
    """The calling workflow and its activity, as `stigma execution get` shows them."""
    line = next(line for line in shown.splitlines() if line.startswith("caller: "))
    _, workflow, activity = line.split()
    return workflow, activity
