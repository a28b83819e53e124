"""Timeouts of a document that ended calls, as far as the history of the engine's run tells."""

from __future__ import annotations

from stigma.contracts.engine_summaries import TimerKind, TimerUse, is_around


class DocumentTimeouts:
    """Finds the calls that a timeout ended: it fired, and the next workflow task cancelled them.

    A call that is cancelled for another reason, for instance with a branch of a `fork` that lost,
    is none; nor is one in a function whose caller has the timeout, for the summaries of its tasks
    do not tell who called it, nor one whose pointer, or that of the timeout, is cut. Runs of an
    engine up to 0.2.0 do not tell which timers are timeouts: none is found there.
    """

    def __init__(self) -> None:
        self._short: dict[int, TimerUse] = {}
        """Timeouts below a second, by the event of their activity."""
        self._fired: list[TimerUse] = []
        """Since the last workflow task."""
        self._causes: list[TimerUse] = []
        """Before the last workflow task, whose commands come next."""
        self._ended: set[int] = set()

    def short_timer_started(self, event_id: int, use: TimerUse | None) -> None:
        """Take a timer of less than a second, which is an activity."""
        if use is not None and use.kind is TimerKind.TIMEOUT:
            self._short[event_id] = use

    def short_timer_fired(self, event_id: int) -> None:
        """Take the completion of an activity, which may be a short timer."""
        self.fired(self._short.pop(event_id, None))

    def fired(self, use: TimerUse | None) -> None:
        """Take a timer that fired."""
        if use is not None and use.kind is TimerKind.TIMEOUT:
            self._fired.append(use)

    def workflow_task_completed(self) -> None:
        """Take the end of a workflow task: its commands follow."""
        self._causes, self._fired = self._fired, []

    def cancel_requested(self, event_id: int, task: str) -> None:
        """Take the command that cancels the call of a task."""
        if any(is_around(each.task, task) for each in self._causes):
            self._ended.add(event_id)

    def has_ended(self, event_id: int) -> bool:
        """Return whether a timeout ended a call."""
        return event_id in self._ended
