"""`python -m ai_worker`: the AI worker; `--help` lists its settings."""

from __future__ import annotations

import sys
from functools import partial

from ai_worker.mcp_resources import load_mcp_servers
from ai_worker.resources import ResourceError, load_providers
from ai_worker.settings import Settings
from ai_worker.worker import build
from stigma.runtime import load_settings, serve

_USAGE_ERROR = 2


def main() -> int:
    """Run the service until it is stopped; return its exit code."""
    settings = load_settings(Settings, "ai_worker")
    try:
        providers = load_providers(settings.providers_file)
        mcp_servers = load_mcp_servers(settings.providers_file)
    except ResourceError as error:
        sys.stderr.write(f"ai_worker: {error}\n")
        return _USAGE_ERROR
    builder = partial(build, settings=settings, resources=providers, mcp_servers=mcp_servers)
    return serve("ai_worker", settings, builder)


if __name__ == "__main__":
    sys.exit(main())
