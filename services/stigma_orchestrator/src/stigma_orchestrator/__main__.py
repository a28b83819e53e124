"""`python -m stigma_orchestrator`: the orchestrator; `--help` lists its settings."""

from __future__ import annotations

import sys
from functools import partial

from stigma.runtime import load_settings, serve
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.worker import build


def main() -> int:
    """Run the service until it is stopped; return its exit code."""
    settings = load_settings(OrchestratorSettings, "stigma_orchestrator")
    return serve("stigma_orchestrator", settings, partial(build, settings=settings))


if __name__ == "__main__":
    sys.exit(main())
