"""Exit codes, and the errors that lead to them: one line and a hint, never a traceback.

0  done
1  what was asked for failed: an agent or workflow failed, a check found something
2  bad usage or input, refused before or by the server
3  a server could not be reached, or something did not answer or end in time
4  not found
5  no permission, or no valid key

(And 130, interrupted, as for every command.)
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stigma_cli.violations import Violation


class Exit(IntEnum):
    """Exit code of the process."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    PERMISSION = 5


class CliError(Exception):
    """Ends a command.

    Args:
        message: one line: what went wrong.
        hint: what to do about it.
        code: what the process ends with.
        more: what else went wrong, a line each.
        reason: of the API's refusal, from its ErrorInfo.
        violations: the fields that the API refuses, as the message and `more` name them.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        code: Exit = Exit.FAILED,
        more: Sequence[str] = (),
        reason: str = "",
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = " ".join(message.split())
        self.hint = hint
        self.code = code
        self.more = tuple(" ".join(line.split()) for line in more)
        self.reason = reason
        self.violations = tuple(violations)
