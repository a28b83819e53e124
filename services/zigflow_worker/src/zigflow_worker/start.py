"""The start input of a run: one JSON object, the only argument of every workflow of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from zigflow_worker.durations import whole_number
from zigflow_worker.expressions import JSON


class StartInput(TypedDict, total=False):
    """The argument as it is sent.

    `document` is the text of a document (YAML or JSON); without it, the engine finds the
    workflow type among its documents. `input` is the workflow's raw input. With `validate` no
    task runs: the document is only checked. The other keys are the engine's own: `state` is that
    of a continued run, `options` are its limits.
    """

    document: str
    input: JSON
    validate: bool
    options: Mapping[str, int]
    state: Mapping[str, JSON]


DEFAULT_STEPS_PER_ACTIVATION = 30_000
"""Some 3,000 tasks, or 50 ms: far from the 2 s after which the SDK takes a worker for stuck."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Limits of a run, recorded with it, so that a replay has the same.

    `history_length`: events after which the run continues as new, besides when Temporal suggests
    it; 0 leaves it to Temporal. `steps_per_activation`: work after which the engine should let
    other things happen.
    """

    history_length: int = 0
    steps_per_activation: int = DEFAULT_STEPS_PER_ACTIVATION


@dataclass(frozen=True, slots=True)
class Start:
    """A start input, checked."""

    document: str | None = None
    input: JSON = None
    validate: bool = False
    options: RunOptions = RunOptions()
    state: Mapping[str, Any] | None = None


_OPTIONS = {"historyLength": "history_length", "stepsPerActivation": "steps_per_activation"}


def read_start(argument: object = None, *more: object) -> Start:
    """Check a start input (raises ValueError, with a message for whoever started the workflow)."""
    if argument is None and not more:
        return Start()
    if (
        more
        or not isinstance(argument, dict)
        or not argument.keys() <= StartInput.__annotations__.keys()
    ):
        raise ValueError(
            'the workflow takes one JSON object: {"document": "<text>", "input": <any>}, '
            "both optional"
        )
    document = argument.get("document")
    if document is not None and not isinstance(document, str):
        raise ValueError("'document' must be the text of a document")
    validate = argument.get("validate", False)
    if not isinstance(validate, bool):
        raise ValueError("'validate' must be true or false")  # noqa: TRY004 - one kind for all
    options = argument.get("options") or {}
    if not isinstance(options, dict) or not all(
        name in _OPTIONS and (whole_number(value) or 0) >= 0 and whole_number(value) is not None
        for name, value in options.items()
    ):
        raise ValueError(f"'options' may have these counts: {', '.join(_OPTIONS)}")
    return Start(
        document=document,
        input=argument.get("input"),
        validate=validate,
        options=RunOptions(**{_OPTIONS[name]: int(value) for name, value in options.items()}),
        state=argument.get("state"),
    )


def continued_start(
    document: str, options: RunOptions, state: Mapping[str, JSON]
) -> dict[str, JSON]:
    """Return the start input of the next run."""
    return {
        "document": document,
        "options": {name: getattr(options, field) for name, field in _OPTIONS.items()},
        "state": dict(state),
    }
