"""Calls of the outside, compiled: what the run evaluates, and what the activity does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stigma.contracts.engine_calls import DeferredValue
from zigflow_worker.expressions import JSON, Budget
from zigflow_worker.program.formulas import Formula


@dataclass(frozen=True, slots=True)
class CallFormula:
    """The arguments of a call. Sources in it are evaluated by the activity."""

    arguments: Formula
    authentication: Formula | None
    deferred: tuple[DeferredValue, ...]
    variables: Formula
    """Makes the map of the variables that the activity's evaluations read."""
    secrets: tuple[str, ...]
    """Names that the document declares."""
    input_from: JSON = None
    output_as: JSON = None
    export_as: JSON = None


def _exported(_subject: JSON, variables: Mapping[str, JSON], _budget: Budget | None) -> JSON:
    return variables["exported"]


EXPORTED = Formula(_exported, ("exported",))
"""The `export.as` of a call whose activity made the context."""
