"""`python -m zigflow_worker`: the workflow engine; `--help` lists its settings.

`python -m zigflow_worker validate FILE` checks a document instead. Each loads only what it needs:
`stigma validate` and `stigma run` wait for the check.
"""

from __future__ import annotations

import sys
from functools import partial


def main() -> int:
    """Run the service until it is stopped; return its exit code."""
    if sys.argv[1:2] == ["validate"]:
        from zigflow_worker.validation import validate  # noqa: PLC0415

        return validate(sys.argv[2:])
    from stigma.runtime import load_settings, serve  # noqa: PLC0415
    from zigflow_worker.settings import EngineSettings  # noqa: PLC0415
    from zigflow_worker.worker import build  # noqa: PLC0415

    settings = load_settings(EngineSettings, "zigflow_worker")
    return serve("zigflow_worker", settings, partial(build, settings=settings))


if __name__ == "__main__":
    sys.exit(main())
