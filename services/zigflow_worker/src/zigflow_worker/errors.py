"""Errors of workflows, as the specification describes them: RFC 7807 problem details.

Exception
├── WorkflowError         an error that a document's `try` may catch
│   └── EffectError       an effect that did not complete (program.effects)
└── InvalidDocumentError  the document itself is wrong (definition.problems)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stigma.contracts import engine, refusals
from stigma.contracts.refusals import Refusal
from zigflow_worker.expressions import JSON

_BASE = "https://open-workflow-specification.org/spec/1.0.0/errors/"
_SPELLINGS = (
    _BASE,
    "https://open-workflow-specification.org/dsl/errors/types/",
    "https://serverlessworkflow.io/spec/1.0.0/errors/",
    "https://serverlessworkflow.io/dsl/errors/types/",
)


class ErrorType(NamedTuple):
    """A type of errors, with the status and title of each of them."""

    uri: str
    status: int
    title: str

    @classmethod
    def standard(cls, name: str, status: int, title: str) -> ErrorType:
        """Return a type below the specification's URI."""
        return cls(_BASE + name, status, title)


CONFIGURATION = ErrorType.standard("configuration", 400, "Configuration Error")
VALIDATION = ErrorType.standard("validation", 400, "Validation Error")
EXPRESSION = ErrorType.standard("expression", 400, "Expression Error")
AUTHENTICATION = ErrorType.standard("authentication", 401, "Authentication Error")
AUTHORIZATION = ErrorType.standard("authorization", 403, "Authorization Error")
COMMUNICATION = ErrorType.standard("communication", 500, "Communication Error")
TIMEOUT = ErrorType.standard("timeout", 408, "Timeout")
RUNTIME = ErrorType.standard("runtime", 500, "Runtime Error")


class WorkflowError(Exception):
    """An error of a run.

    `problem` has `type`, `status` and, where known, `title`, `detail` and `instance`, the JSON
    pointer of the task it comes from.
    """

    def __init__(self, problem: Mapping[str, JSON]) -> None:
        super().__init__(summary(problem))
        self.problem = dict(problem)

    @classmethod
    def of(cls, error_type: ErrorType, detail: str, instance: str | None = None) -> WorkflowError:
        """Return a standard error; without `instance`, the interpreter names the task."""
        problem: dict[str, JSON] = {
            "type": error_type.uri,
            "status": error_type.status,
            "title": error_type.title,
            "detail": detail,
        }
        if instance is not None:
            problem["instance"] = instance
        return cls(problem)

    def with_status(self, status: int) -> WorkflowError:
        """Return this error with a status of its own, for instance that of an HTTP response."""
        return WorkflowError({**self.problem, "status": status})

    def with_refusal(self, refusal: Refusal) -> WorkflowError:
        """Return this error as the reason for which a run does not begin."""
        return WorkflowError({**self.problem, refusals.KEY: str(refusal)})

    def with_reason(self, reason: str) -> WorkflowError:
        """Return this error with the reason, by name, that a workflow execution gives for it."""
        return WorkflowError({**self.problem, engine.REASON_KEY: reason})

    @property
    def type(self) -> str:
        """The URI of the error's type."""
        return str(self.problem["type"])


def matches(problem: Mapping[str, JSON], wanted: Mapping[str, JSON]) -> bool:
    """Return whether an error has every property that a filter names.

    Standard types match in all four spellings in use.
    """
    for name, value in wanted.items():
        actual = problem.get(name)
        if name == "type":
            actual, value = _standard_name(actual), _standard_name(value)  # noqa: PLW2901
        if actual != value:
            return False
    return True


def _standard_name(error_type: JSON) -> JSON:
    if isinstance(error_type, str):
        for base in _SPELLINGS:
            if error_type.startswith(base):
                return _BASE + error_type[len(base) :]
    return error_type


def summary(problem: Mapping[str, JSON]) -> str:
    """Return title, place and detail in one line."""
    title = problem.get("title") or problem.get("type")
    place = f" at {problem['instance']}" if problem.get("instance") else ""
    detail = f": {problem['detail']}" if problem.get("detail") else ""
    return f"{title}{place}{detail}"
