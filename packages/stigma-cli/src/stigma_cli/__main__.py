"""Entry point of `stigma` and `python -m stigma_cli`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from stigma_cli.app import app


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        app(prog_name="stigma")
    except SystemExit as ended:
        _leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End without Python's finalization, in which the Temporal SDK's threads now and then abort."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):  # whoever read it has what they wanted
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
