"""Retry policies: whether to try again, and after how long."""

from dataclasses import dataclass

from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import RetryDefinition
from zigflow_worker.definition.durations import MAX_SECONDS
from zigflow_worker.execution.frames import Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.program import DurationFormula, Formula

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

    def delay_before(self, run: Interpreter, frame: Frame, retry: int) -> float | None:
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

    def _delay(self, run: Interpreter, frame: Frame, retry: int) -> float:
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


def compile_retry(definition: RetryDefinition, compiler: Compiler, place: Place) -> RetryPolicy:
    """Compile a policy for the place where it is used."""
    jitter = definition.jitter
    return RetryPolicy(
        when=compiler.optional(definition.when, place),
        except_when=compiler.optional(definition.except_when, place),
        delay=compiler.optional_duration(definition.delay, place),
        backoff=definition.backoff,
        attempts=definition.attempts,
        attempt_duration=compiler.optional_duration(definition.attempt_duration, place),
        duration=compiler.optional_duration(definition.duration, place),
        jitter=None
        if jitter is None
        else (compiler.duration(jitter[0], place), compiler.duration(jitter[1], place)),
    )
