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
    installed = Path(sysconfig.get_path("data"), "share", "stigma")
    for root in (Path.cwd(), *Path(__file__).resolve().parents, installed):
        example = root / "examples" / name
        if example.is_dir():
            return example
    raise CliError(f"examples/{name} is not here", "install stigma-cli again", code=Exit.USAGE)
