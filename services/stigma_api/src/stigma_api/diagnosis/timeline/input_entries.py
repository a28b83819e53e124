"""Entries of what an execution waits for from people, and of messages to it. No content."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    InputResolution,
    InputResolutionKind,
    PendingInput,
)
from stigma.diagnosis.v1.diagnosis_service_pb2 import TimelineEntry, TimelineStep
from stigma_api.diagnosis.timeline.entries import close, entry
from stigma_api.executions import history_facts as facts
from stigma_api.executions.history_facts import Fact
from stigma_api.temporal.histories import Run

_EXPIRED = "expired"


class InputEntries:
    """The entries of an execution's pending inputs, over all of its runs.

    A run begins with a memo of what the run before still waited for, so that an input is open
    until a memo is without it, or an answer came.
    """

    def __init__(self) -> None:
        self.entries: list[TimelineEntry] = []
        self._open: dict[str, tuple[PendingInput, TimelineEntry]] = {}

    async def add(self, run: Run, fact: Fact, time: Timestamp) -> None:
        """Add the next fact; those that are about no input and no message change nothing."""
        match fact:
            case facts.InputsChanged(inputs=content):
                self._change(run, (await content.read()).inputs, time)
            case facts.InputResolved(resolution=content):
                self._resolve(await content.read(), time)
            case facts.MessageSent(message=content):
                step = TimelineStep.TIMELINE_STEP_MESSAGE_RECEIVED
                title = f"a message from {(await content.read()).principal}"
                self.entries.append(entry(step, run, time, title))

    def close_open(self, time: Timestamp) -> None:
        """Close what is open when the execution ends."""
        for found, opened in self._open.values():
            _close(found, opened, time, "given up", failed=True)
        self._open.clear()

    def _change(self, run: Run, inputs: Iterable[PendingInput], time: Timestamp) -> None:
        now = {each.id: each for each in inputs}
        for id_ in self._open.keys() - now.keys():
            found, opened = self._open.pop(id_)
            _close(found, opened, time, "no longer waited for")
        for id_, each in now.items():
            if id_ not in self._open:
                # The event is of a later time where the beginning of the history was left out.
                since = each.request_time if each.HasField("request_time") else time
                step = TimelineStep.TIMELINE_STEP_INPUT_REQUIRED
                opened = entry(step, run, since, waits_text(each), open=True)
                self._open[id_] = each, opened
                self.entries.append(opened)

    def _resolve(self, resolution: InputResolution, time: Timestamp) -> None:
        if resolution.input_id in self._open:
            _, opened = self._open.pop(resolution.input_id)
            close(opened, time, _resolution_text(resolution))


def waits_text(found: PendingInput) -> str:
    """Return what is waited for, for people, without arguments and questions."""
    match found.kind:
        case kind if kind == PENDING_INPUT_KIND_APPROVAL:
            what = f"the approval of {found.tool}"
        case kind if kind == PENDING_INPUT_KIND_QUESTION:
            what = f"an answer to {found.tool}" if found.tool else "an answer to its workflow"
        case kind if kind == PENDING_INPUT_KIND_ELICITATION:
            what = f"a form of {found.tool}"
        case kind if kind == PENDING_INPUT_KIND_AUTHORIZATION:
            what = f"a person to open a page for {found.tool}"
        case _:
            what = f"a client to run {found.tool}"
    return f"waits for {what} (call {found.call_id})" if found.call_id else f"waits for {what}"


def _close(
    found: PendingInput,
    opened: TimelineEntry,
    time: Timestamp,
    detail: str,
    *,
    failed: bool = False,
) -> None:
    """Close the entry of an input that nobody answered."""
    expires = found.expire_time
    if found.HasField("expire_time") and expires.ToNanoseconds() <= time.ToNanoseconds():
        time, detail, failed = expires, _EXPIRED, True
    close(opened, time, detail, failed=failed)


def _resolution_text(resolution: InputResolution) -> str:
    """Return how an input was resolved, and by whom; its number where unnamed."""
    how = str(resolution.how)
    if resolution.how in InputResolutionKind.values():
        name = InputResolutionKind.Name(resolution.how)
        how = name.removeprefix("INPUT_RESOLUTION_KIND_").lower()
    parts = [f"{how} by {resolution.by}" if resolution.by else how]
    if resolution.edited_digest:
        parts.append("with other arguments")
    if resolution.remembered:
        parts.append("for further calls too")
    return ", ".join(parts)
