"""`python -m zigflow_worker`: the workflow engine; `--help` lists its settings.

`python -m zigflow_worker validate FILE` checks a document instead.
"""

from __future__ import annotations

import sys
from functools import partial

from stigma.runtime import load_settings, serve
from zigflow_worker.settings import EngineSettings
from zigflow_worker.validation import validate
from zigflow_worker.worker import build


def main() -> int:
    """Run the service until it is stopped; return its exit code."""
    if sys.argv[1:2] == ["validate"]:
        return validate(sys.argv[2:])
    settings = load_settings(EngineSettings, "zigflow_worker")
    return serve("zigflow_worker", settings, partial(build, settings=settings))


if __name__ == "__main__":
    sys.exit(main())
