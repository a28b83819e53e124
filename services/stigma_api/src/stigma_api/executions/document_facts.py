"""Facts of a document's run: calls and timers, as they begin and end."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.failure.v1 import Failure

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts.engine_summaries import TimerUse, Tries
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    DOCUMENT_CALL_KIND_AGENT,
    DOCUMENT_CALL_KIND_GRPC,
    DOCUMENT_CALL_KIND_HTTP,
    DOCUMENT_CALL_KIND_OPENAPI,
    DOCUMENT_CALL_KIND_RESOURCE,
    DocumentCallKind,
    DocumentCallOutcome,
)
from stigma_api.executions.history_facts import Content

_TITLES = {
    DOCUMENT_CALL_KIND_AGENT: "call of agent",
    DOCUMENT_CALL_KIND_HTTP: "HTTP call",
    DOCUMENT_CALL_KIND_OPENAPI: "OpenAPI call",
    DOCUMENT_CALL_KIND_GRPC: "gRPC call",
    DOCUMENT_CALL_KIND_RESOURCE: "fetch for",
}
"""By the kind of the call, whose agent and task follow."""


@dataclass(frozen=True)
class Opened:
    """The start of what a document waits for."""

    event_id: int


@dataclass(frozen=True)
class CallOpened(Opened):
    """A call was scheduled."""

    activity_id: str
    kind: DocumentCallKind.ValueType
    task: str
    """JSON pointer of the task, or its end after "…"; "": not known."""
    agent: str = ""
    """Of an agent's call: the agent; "" for an inline one."""
    tries: Tries | None = None
    """Which retry of its task it is; None: the first try, or not known."""

    @property
    def title(self) -> str:
        """The call, for people."""
        is_agent = self.kind == DOCUMENT_CALL_KIND_AGENT
        agent = (self.agent or "(inline)") if is_agent else ""
        title = " ".join(filter(None, (_TITLES[self.kind], agent, self.task)))
        return f"{title}, {self.tries}" if self.tries else title


@dataclass(frozen=True)
class CallClosed:
    """A call ended."""

    call: CallOpened
    outcome: DocumentCallOutcome.ValueType
    attempt: int = 0
    """The last one; 0: no worker took it."""
    failure: Failure | None = None
    result: Content[AgentExecution] | None = None
    """Of an agent's call that succeeded."""


@dataclass(frozen=True)
class TimerOpened(Opened):
    """A timer was started."""

    fire_time: Timestamp
    after: CallClosed | None = None
    """The one call that failed before it, as before a retry; None: there is none, or several."""
    use: TimerUse | None = None
    """None: not known, as of an engine up to 0.2.0."""

    @property
    def title(self) -> str:
        """The timer, for people: its time as the command line shows times."""
        parts = (
            f"timer up to {self.fire_time.ToDatetime().isoformat(timespec='seconds')}Z",
            str(self.use or ""),
            f"after the failed {self.after.call.title}" if self.after else "",
        )
        return " ".join(filter(None, parts))


@dataclass(frozen=True)
class TimerClosed:
    """A timer fired, or nothing waits for it any more."""

    timer: TimerOpened
    fired: bool
    given_up: bool = False
    """Whether it is the run's end that ended it."""


@dataclass(frozen=True)
class CallDetails:
    """Details of a call's end, as far as they are known."""

    error: str = ""
    """Class of its failure."""
    status: int = 0
    """Status of the document's error; 0: it has none."""
    execution_id: str = ""
    """The execution that an agent's call came to."""


DocumentFact = CallOpened | CallClosed | TimerOpened | TimerClosed
