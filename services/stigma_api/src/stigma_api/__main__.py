"""`python -m stigma_api`: the gRPC API; `--help` lists its settings.

`python -m stigma_api check-agents` and `check-workflows` check definitions instead, for the
command `stigma`: they load the rules only.
"""

import sys
from functools import partial

_USAGE_ERROR = 2


def main() -> int:
    """Run the service until it is told to stop; return its exit code."""
    if sys.argv[1:] == ["check-agents"]:
        from stigma_api.definition_check import check_agents  # noqa: PLC0415

        return check_agents()
    if sys.argv[1:] == ["check-workflows"]:
        from stigma_api.definition_check import check_workflows  # noqa: PLC0415

        return check_workflows()
    from stigma.runtime import load_settings, serve  # noqa: PLC0415
    from stigma_api.access.principals import PrincipalsError  # noqa: PLC0415
    from stigma_api.server import build, load_principals  # noqa: PLC0415
    from stigma_api.settings import ApiSettings  # noqa: PLC0415

    settings = load_settings(ApiSettings, "stigma_api")
    try:
        principals = load_principals(settings)
    except PrincipalsError as error:
        sys.stderr.write(f"stigma_api: {error}\n")
        return _USAGE_ERROR
    return serve("stigma_api", settings, partial(build, settings=settings, principals=principals))


if __name__ == "__main__":
    sys.exit(main())
