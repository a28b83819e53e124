"""Checks that a service's own program makes, each in a process of its own: it takes a second."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from typing import Any, TypeVar

from stigma_cli.child_process import python_module
from stigma_cli.errors import CliError, Exit

_TIMEOUT_SECONDS = 60.0

T = TypeVar("T")


def is_installed(service: str) -> bool:
    """Return whether a service is installed here."""
    return importlib.util.find_spec(service) is not None


def run_check(service: str, *arguments: str, text: str, what: str, read: Callable[[Any], T]) -> T:
    """Return what a service's program says of a text.

    Args:
        service: its module.
        arguments: of its program.
        text: is given to it on stdin.
        what: the text is, for errors.
        read: makes the result of the JSON that it prints; raises ValueError, KeyError or TypeError
            for any other.

    Raises:
        CliError: it does not answer in time, or cannot check anything.
    """
    try:
        checked = subprocess.run(
            python_module(service, *arguments),
            input=text.encode(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CliError(
            f"{service} did not check {what} within {_TIMEOUT_SECONDS:g} s", code=Exit.UNREACHABLE
        ) from None
    try:
        return read(json.loads(checked.stdout))
    except (ValueError, KeyError, TypeError):
        last = checked.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CliError(f"{service} cannot check {what}: {last}") from None
