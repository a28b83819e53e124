"""`python -m stigma_api`: the gRPC API; `--help` lists its settings."""

import sys
from functools import partial

from stigma.runtime import load_settings, serve
from stigma_api.access.principals import PrincipalsError
from stigma_api.server import build, load_principals
from stigma_api.settings import ApiSettings

_USAGE_ERROR = 2


def main() -> int:
    """Run the service until it is told to stop; return its exit code."""
    settings = load_settings(ApiSettings, "stigma_api")
    try:
        principals = load_principals(settings)
    except PrincipalsError as error:
        sys.stderr.write(f"stigma_api: {error}\n")
        return _USAGE_ERROR
    return serve("stigma_api", settings, partial(build, settings=settings, principals=principals))


if __name__ == "__main__":
    sys.exit(main())
