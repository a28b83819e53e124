"""Entry point of `stigma` and `python -m stigma_cli`."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line and exit."""
    # Imports take long, in which a Ctrl-C is no error; a command itself handles its own.
    signal.signal(signal.SIGINT, exit_interrupted)
    from stigma_cli.app import app  # noqa: PLC0415 - interruptible

    try:
        app(prog_name="stigma", obj=silence_temporal_core)
    except SystemExit as ended:
        _leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    _leave(0)


def silence_temporal_core() -> None:
    """Turn the logs of the Temporal SDK's core off: it writes them to stdout, into our output."""
    if "temporalio" not in sys.modules:
        return
    from temporalio.runtime import Runtime, TelemetryConfig  # noqa: PLC0415 - not of all commands

    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=None)), error_if_already_set=False
    )


def exit_interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    """End at once and in silence: nothing has begun."""
    os._exit(INTERRUPTED)


def _leave(code: int) -> NoReturn:
    """End without Python's finalization, in which the Temporal SDK's threads now and then abort."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it has what they wanted, or was told
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
