"""Watch events of what executions wait for, from the memos that a run writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.timestamp_pb2 import Timestamp

from stigma.agent.v1.agent_execution_pb2 import (
    INPUT_RESOLUTION_KIND_CANCELLED,
    INPUT_RESOLUTION_KIND_EXPIRED,
    InputResolution,
    PendingInput,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    InputRequested,
    InputResolved,
    WatchAgentExecutionResponse,
)


class InputEvents:
    """Tells what is new from what was known: a memo has all that is waited for."""

    def __init__(self) -> None:
        self._known: dict[str, PendingInput] = {}

    def begin(self, inputs: Iterable[PendingInput]) -> None:
        """Take what the run before waited for as known."""
        self._known = {each.id: each for each in inputs}

    def resolved(self, resolution: InputResolution) -> WatchAgentExecutionResponse | None:
        """Return the event of an answer; None for its repetition."""
        if self._known.pop(resolution.input_id, None) is None:
            return None
        return _resolved(resolution)

    def changed(
        self, inputs: Iterable[PendingInput], time: Timestamp
    ) -> Iterator[WatchAgentExecutionResponse]:
        """Yield the events of what is waited for from now on, and of what nobody has answered.

        Args:
            inputs: that are waited for.
            time: of the change.
        """
        now = {each.id: each for each in inputs}
        for id_, each in self._known.items():
            if id_ not in now:
                yield _resolved(_unanswered(each, time))
        for id_, each in now.items():
            if id_ not in self._known:
                yield WatchAgentExecutionResponse(input_requested=InputRequested(input=each))
        self._known = now


def _unanswered(found: PendingInput, time: Timestamp) -> InputResolution:
    """Return the resolution of an input that expired, or was given up before."""
    expires = found.expire_time
    expired = found.HasField("expire_time") and expires.ToNanoseconds() <= time.ToNanoseconds()
    return InputResolution(
        input_id=found.id,
        how=INPUT_RESOLUTION_KIND_EXPIRED if expired else INPUT_RESOLUTION_KIND_CANCELLED,
        time=expires if expired else time,
        arguments_digest=found.arguments_digest,
    )


def _resolved(resolution: InputResolution) -> WatchAgentExecutionResponse:
    return WatchAgentExecutionResponse(input_resolved=InputResolved(resolution=resolution))
