"""Retry policies: whether to try again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass

from zigflow_worker.compilation import Compiler, CompileScope
from zigflow_worker.definition import RetryDefinition
from zigflow_worker.durations import MAX_SECONDS
from zigflow_worker.program.formulas import DurationFormula, Formula
from zigflow_worker.program.model import Frame, Run

_MAX_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A compiled policy. `attempts` counts the retries after the first try; None: no limit."""

    when: Formula | None
    except_when: Formula | None
    delay: DurationFormula | None
    backoff: str
    attempts: int | None
    attempt_duration: DurationFormula | None
    duration: DurationFormula | None
    jitter: tuple[DurationFormula, DurationFormula] | None

    def delay_before(self, run: Run, frame: Frame, retry: int) -> float | None:
        """Return the seconds to wait before a retry, counted from 1; None: no more retries."""
        if self.attempts is not None and retry > self.attempts:
            return None
        if self.when is not None and not run.truth(self.when, frame, frame.input):
            return None
        if self.except_when is not None and run.truth(self.except_when, frame, frame.input):
            return None
        delay = self._delay(run, frame, retry)
        if self.duration is not None:
            allowed = run.seconds(self.duration, frame, frame.input)
            if run.now + delay > frame.started + allowed:
                return None
        return delay

    def _delay(self, run: Run, frame: Frame, retry: int) -> float:
        delay = 0.0
        if self.delay is not None:
            delay = run.seconds(self.delay, frame, frame.input)
        if self.backoff == "linear":
            delay *= retry
        elif self.backoff == "exponential":
            delay *= 2 ** min(retry - 1, _MAX_DOUBLINGS)
        if self.jitter is not None:
            low, high = (run.seconds(part, frame, frame.input) for part in self.jitter)
            delay += run.random(min(low, high), max(low, high))
        return min(delay, MAX_SECONDS)


def compile_retry(
    definition: RetryDefinition, compiler: Compiler, scope: CompileScope
) -> RetryPolicy:
    """Compile a policy for the place where it is used."""
    jitter = definition.jitter
    return RetryPolicy(
        when=compiler.optional(definition.when, scope),
        except_when=compiler.optional(definition.except_when, scope),
        delay=compiler.optional_duration(definition.delay, scope),
        backoff=definition.backoff,
        attempts=definition.attempts,
        attempt_duration=compiler.optional_duration(definition.attempt_duration, scope),
        duration=compiler.optional_duration(definition.duration, scope),
        jitter=None
        if jitter is None
        else (compiler.duration(jitter[0], scope), compiler.duration(jitter[1], scope)),
    )
