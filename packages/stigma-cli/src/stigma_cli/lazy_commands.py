"""Commands that are imported when they are run, so that the others need not wait for that."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command


@dataclass(frozen=True)
class CommandPlace:
    """Where a command is, and its summary.

    ``place`` is "module:name" of this package; the name is of a function, or of a Typer whose
    commands are below this one.
    """

    name: str
    place: str
    summary: str


class LazyCommand(TyperCommand):
    """A command that is imported when its context is made."""

    def __init__(self, place: CommandPlace) -> None:
        super().__init__(place.name, help=place.summary)
        self._place = place

    def load(self) -> Any:
        """Import the command, and return it."""
        module, _, name = self._place.place.partition(":")
        found = getattr(import_module(f"stigma_cli.{module}"), name)
        parent = typer.Typer(add_completion=False, rich_markup_mode=None, callback=_nothing)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=self.name)
        else:
            parent.command(self.name)(found)
        group: Any = get_command(parent)
        return group.commands[self.name]

    def make_context(self, *args: Any, parent: Any = None, **options: Any) -> Any:
        """Import the command, and make its context, in which a Ctrl-C is an exception.

        An `obj` of the context above is a function that is called between.
        """
        command = self.load()
        if parent is not None and parent.obj is not None:
            parent.obj()
        interrupt_by_exception()
        return command.make_context(*args, parent=parent, **options)


def loaded(command: Any) -> Any:
    """Return a command itself, imported if it is lazy."""
    return command.load() if isinstance(command, LazyCommand) else command


def interrupt_by_exception() -> None:
    """Let a Ctrl-C raise KeyboardInterrupt from here on, where it ended the process before."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _nothing() -> None:
    """Make a group of a Typer that has one command."""
