"""Operations that wait for one effect: a call of something outside the run."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    TimeoutError,  # noqa: A004 - Temporal's
)
from typing_extensions import override

from stigma.contracts.engine_summaries import Tries
from zigflow_worker.errors import COMMUNICATION, RUNTIME, ErrorType, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.program.model import Branch, Frame, Operation, Run, tries_in

EffectCoroutine: TypeAlias = Coroutine[Any, Any, JSON]


@dataclass(frozen=True, slots=True)
class Effect:
    """A call that has not begun."""

    size: int
    """Bytes of its command, roughly."""
    begin: Callable[[Tries | None], EffectCoroutine]
    """Returns what is awaited, for one try of the task; it may raise EffectError."""


class EffectError(WorkflowError):
    """An effect that did not complete."""

    execution_id: str = ""
    """The execution that the effect was, where there is one."""


def error_of(error: ActivityError) -> WorkflowError:
    """Return the error of an activity of calls that failed: the problem that it gave, if any."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.details:
        problem = cause.details[0]
        if isinstance(problem, dict) and "type" in problem:
            return EffectError(problem)
    if isinstance(cause, TimeoutError):
        return WorkflowError.of(COMMUNICATION, "the call did not end in time")
    return WorkflowError.of(RUNTIME, "the call failed in its worker")


class EffectOperation(Operation):
    """One effect. The frame needs no state: an effect is never carried over to another run."""

    cancelled: ClassVar[ErrorType]
    """Type of the error that a cancelled effect raises."""

    @abstractmethod
    def request(self, run: Run, frame: Frame) -> Effect:
        """Return what to call; evaluated again where it has to wait for its turn."""

    @abstractmethod
    def output(self, run: Run, frame: Frame, result: Any) -> JSON:
        """Return the task's raw output, made of what the effect brought."""

    @override
    def proceed(self, run: Run, branch: Branch, frame: Frame) -> None:
        task = branch.effect
        if task is None:
            effect = self.request(run, frame)
            if run.reserve_effect(branch, effect.size):
                run.wait(branch, effect=effect.begin(tries_in(branch)))
        elif task.done():
            branch.effect = None
            run.complete(branch, frame, self.output(run, frame, self._result(run, frame, task)))
        else:
            run.wait(branch)

    def _result(self, run: Run, frame: Frame, task: asyncio.Task[JSON]) -> JSON:
        try:
            return task.result()
        except asyncio.CancelledError:
            raise WorkflowError.of(self.cancelled, "the call was cancelled") from None
        except EffectError as error:
            run.record_execution(frame, error.execution_id)
            raise
