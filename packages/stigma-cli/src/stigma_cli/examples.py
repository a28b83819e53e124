"""Where the examples are that commands use."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from stigma_cli.errors import CliError, Exit


def example_directory(name: str) -> Path:
    """Find an example: below the current directory, in the checkout, or as it was installed.

    Raises:
        CliError: it is nowhere.
    """
    here = Path.cwd() / "examples" / name
    return here if here.is_dir() else shared_path(f"examples/{name}")


def shared_path(name: str) -> Path:
    """Find a file or folder of the checkout, or as it was installed.

    Raises:
        CliError: it is nowhere.
    """
    installed = Path(sysconfig.get_path("data"), "share", "stigma")
    for root in (*Path(__file__).resolve().parents, installed):
        found = root / name
        if found.exists():
            return found
    raise CliError(f"{name} is not here", "install stigma-cli again", code=Exit.USAGE)
