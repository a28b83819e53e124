"""What a person may do to an execution from its page: nothing yet, it only reads.

An action is offered on the page as a button, and posted to
`/executions/{id}/actions/{name}` by the console's own pages only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from stigma_api.console.views import ExecutionView


@dataclass(frozen=True)
class ExecutionAction:
    """One thing to do."""

    label: str
    """On the button."""
    offered: Callable[[ExecutionView], bool]
    """Whether an execution, as it stands, can have it done."""
    perform: Callable[[str], Awaitable[None]]
    """Does it to the execution of an id, as the principal who asks; raises ApiError."""


ACTIONS: Mapping[str, ExecutionAction] = {}
"""By name."""


def offered(execution: ExecutionView) -> Mapping[str, str]:
    """Return the labels of what can be done to an execution, by name."""
    return {name: action.label for name, action in ACTIONS.items() if action.offered(execution)}
