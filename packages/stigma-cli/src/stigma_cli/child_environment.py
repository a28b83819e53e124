"""Environment of children: nothing that belongs to another installation."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Settings of a connection to some API, of its server and of who may call it: `up` has its own.
_OF_AN_API = ("STIGMA_API_", "STIGMA_PRINCIPALS_", "STIGMA_CONSOLE_SESSION_")


def without_other_installations(
    environment: Mapping[str, str], *, own_temporal: bool
) -> dict[str, str]:
    """Return the variables of `environment` that a service or server of ours may have.

    Args:
        environment: for instance this process's.
        own_temporal: the Temporal server is started by us, and spoken to in clear: without
            `TEMPORAL_*`, and without the profiles of the user's configuration file.
    """
    unwanted = (*_OF_AN_API, "TEMPORAL_") if own_temporal else _OF_AN_API
    kept = {name: value for name, value in environment.items() if not name.startswith(unwanted)}
    return kept | {"TEMPORAL_CONFIG_FILE": os.devnull} if own_temporal else kept
