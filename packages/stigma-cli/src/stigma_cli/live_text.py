"""The text of a model that is still writing, in place at the end of what a terminal shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.live import Live
from rich.text import Text

from stigma.agent.v1.agent_execution_service_pb2 import ModelProgress
from stigma.contracts.partial_text import ReceivedText
from stigma_cli.output import console
from stigma_cli.terminal_text import escape_text

_MAX_LINES = 10


class LiveText:
    """Shows the newest text; nothing where the output is no terminal.

    Args:
        out: the output.
    """

    def __init__(self, out: Console) -> None:
        self._out = out
        self._received = ReceivedText()
        self._live: Live | None = None

    def show(self, progress: ModelProgress) -> None:
        """Show the text with what was added."""
        self._received.add(progress)
        if not self._out.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=self._out, auto_refresh=False, transient=True)
            self._live.start()
        text = last_lines("", self._received.text, self._out.width, _MAX_LINES)
        self._live.update(Text(text, no_wrap=True), refresh=True)

    def clear(self) -> None:
        """Remove the text: the whole answer follows, or none does."""
        self._received = ReceivedText()
        if self._live is not None:
            self._live.stop()
            self._live = None


@contextmanager
def live_text() -> Iterator[LiveText]:
    """Show texts as long as the body runs."""
    live = LiveText(console())
    try:
        yield live
    finally:
        live.clear()


def last_lines(title: str, text: str, width: int, count: int) -> str:
    """Return the last lines of a text, each at most `width` cells wide.

    Args:
        title: before them.
        text: of any kind; one shown line is made of it where `count` is 1.
        width: of the terminal.
        count: most lines.
    """
    if count == 1:
        text = " ".join(text.split())
    room = max(width - cell_len(title), 1)
    lines = [
        chopped
        for line in escape_text(text).expandtabs().splitlines()
        for chopped in chop_cells(line, room) or [""]
    ]
    return title + "\n".join(lines[-count:])
