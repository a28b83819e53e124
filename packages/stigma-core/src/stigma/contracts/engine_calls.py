"""Calls of the workflow engine's runs to the outside: one activity type a kind of call.

The engine's worker serves them to its own workflows. A lost worker's call is made again by
Temporal, so that a call is made at least once; nothing else repeats one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.common import RetryPolicy

CALL_HTTP = "call_http"
CALL_OPENAPI = "call_openapi"
CALL_GRPC = "call_grpc"
FETCH_RESOURCE = "fetch_resource"

WAIT_EXACTLY = "wait"
"""Activity by which a run waits for less than a second, as timers do for longer."""

CALL_TIMEOUT = timedelta(hours=1)
"""The longest that a call takes, whatever the document allows; its activity ends it then."""
FETCH_TIMEOUT = timedelta(minutes=1)
"""The longest that a document takes which a run needs before its first task."""
MAX_RESOURCES_BYTES = 256 * 1024
"""Size of a run's documents together: they are carried from run to run beside its state."""
CALL_TIMEOUT_SLACK = timedelta(seconds=30)
"""Time after which a worker that did not end a call counts as lost."""
CALL_HEARTBEAT_TIMEOUT = timedelta(seconds=5)
"""Time without a heartbeat after which a call's worker counts as lost."""
CALL_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    maximum_interval=timedelta(seconds=5),
    maximum_attempts=100,
)
"""Retries after lost workers alone: failures of calls are never retryable. They are bounded, since
a call may be what its workers die of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredValue:
    """A part of a call's arguments that names `$secrets`, and so is evaluated by the activity."""

    path: Sequence[str | int]
    """Keys and indexes that lead to the part: from the request's `arguments`, or from its
    `authentication`, which is then the first key."""
    template: Any
    """The part as the document has it, its expressions included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """One call, evaluated but for what names `$secrets`."""

    reference: str
    """JSON pointer of the task."""
    arguments: Any
    """The task's `with`; null where a deferred value belongs."""
    authentication: Any = None
    """The authentication policy, references resolved; None: none."""
    deferred: Sequence[DeferredValue] = ()
    subject: Any = None
    """The value of `.` for deferred values; with `input_from`, the task's raw input."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """The variables that deferred values read, by name, without `$`."""
    secrets: Sequence[str] = ()
    """Names that the document declares in `use.secrets`."""
    input_from: Any = None
    """The task's `input.from` where it names `$secrets`: makes the value of `.` from `subject`."""
    output_as: Any = None
    """The task's `output.as` where it or `export.as` names `$authorization`."""
    export_as: Any = None
    """The task's `export.as` where it or `output.as` names `$authorization`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """The outcome of a call."""

    output: Any
    """The task's raw output, or the transformed one where the request has `output_as`."""
    context: Any = None
    """The new context where the request has `export_as`."""


class CallActivities(ABC):
    """Raises ApplicationError, never retryable: its details are one problem (RFC 7807)."""

    @activity.defn(name=CALL_HTTP)
    @abstractmethod
    async def call_http(self, request: CallRequest) -> CallResult:
        """Call an HTTP endpoint."""

    @activity.defn(name=CALL_OPENAPI)
    @abstractmethod
    async def call_openapi(self, request: CallRequest) -> CallResult:
        """Call an operation of an OpenAPI document."""

    @activity.defn(name=CALL_GRPC)
    @abstractmethod
    async def call_grpc(self, request: CallRequest) -> CallResult:
        """Call a method of a gRPC service."""

    @activity.defn(name=FETCH_RESOURCE)
    @abstractmethod
    async def fetch_resource(self, request: CallRequest) -> CallResult:
        """Return the argument `resource`, an external resource in JSON or YAML, as JSON text."""
