"""The API's rules for definitions, applied without an API where it is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stigma.contracts.executions import Kind
from stigma_cli.output import as_json
from stigma_cli.resource_files import D
from stigma_cli.service_checks import is_installed, run_check
from stigma_cli.violations import Violation

_API = "stigma_api"


def violations_of(kind: Kind, definitions: Sequence[D]) -> list[list[Violation]] | None:
    """Return what the rules refuse of each definition; None where the API is not installed here.

    What a definition names elsewhere is not looked at (task queues, other agents, MCP servers), nor
    what is in a workflow's document.

    Raises:
        CliError: the API, which is a process of its own, cannot check anything.
    """
    if not is_installed(_API):
        return None
    if not definitions:
        return []
    return run_check(
        *(_API, f"check-{kind}s"),
        text=json.dumps([as_json(each) for each in definitions]),
        what=f"the {kind}s",
        read=lambda found: [[Violation(**one) for one in each] for each in found],
    )
