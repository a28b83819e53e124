"""Pages of executions of both kinds, whose tokens are one text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stigma.contracts.executions import Execution, Kind
from stigma_api import errors


@dataclass(frozen=True)
class ExecutionPage:
    """One page of executions."""

    executions: Sequence[Execution]
    next_page: str
    """Token of the next page; empty on the last one."""


def parse_page(kinds: Sequence[Kind], page: str) -> dict[Kind, str]:
    """Return the token of each kind from a page's token: `kind:token`, joined by `;`.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not page:
        return dict.fromkeys(kinds, "")
    tokens = dict(part.partition(":")[::2] for part in page.split(";"))
    asked = {kind: tokens[kind] for kind in kinds if tokens.get(kind)}
    if not asked:
        raise errors.invalid_argument([("page", "is not a page of this list")])
    return asked


def format_page(tokens: Mapping[Kind, str]) -> str:
    """Return the token of a page from those of each kind."""
    return ";".join(f"{kind}:{token}" for kind, token in tokens.items() if token)


def recency(execution: Execution) -> tuple[bool, int]:
    """Return the key of Temporal's own order: open ones first, then the last closed."""
    closed = execution.status.HasField("end_time")
    time = execution.status.end_time if closed else execution.status.start_time
    return not closed, time.ToNanoseconds()


def kind_of(execution_id: str) -> Kind:
    """Return the kind of an execution.

    Raises:
        ApiError: NOT_FOUND; no execution has such an id.
    """
    kind = Kind.of_id(execution_id)
    if kind is None:
        raise errors.not_found(f"execution {execution_id}")
    return kind
