"""The Temporal workflow that runs every document: the workflow type is the document's name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from stigma.contracts import engine, json_text, versions
    from stigma.contracts.refusals import Refusal
    from zigflow_worker.activities.interfaces import EngineActivities
    from zigflow_worker.changes import JSON_DATA
    from zigflow_worker.compiled_documents import (
        compile_document,
        compile_with_resources,
        validate_document,
    )
    from zigflow_worker.errors import (
        CONFIGURATION,
        EXPRESSION,
        VALIDATION,
        WorkflowError,
    )
    from zigflow_worker.execution.dataflow import RunFacts
    from zigflow_worker.execution.interpreter import Interpreter
    from zigflow_worker.execution.resources import fetch_resources
    from zigflow_worker.execution.run_state import (
        MAX_STATE_BYTES,
        dump_run,
        exceeds_state,
        input_of,
        is_too_large,
        load_run,
        too_large,
    )
    from zigflow_worker.execution.scheduler import Scheduler
    from zigflow_worker.execution.trace import Trace, iso8601
    from zigflow_worker.expressions import JSON
    from zigflow_worker.failures import failure_of
    from zigflow_worker.program.encoded_sizes import encoded_size
    from zigflow_worker.program.model import Program
    from zigflow_worker.start import Start, continued_start, read_start

_RESOLVE_TIMEOUT = timedelta(seconds=30)
_RESOLVE_RETRIES = RetryPolicy(maximum_interval=timedelta(seconds=5))


@workflow.defn(dynamic=True)
class DocumentWorkflow:
    """Runs one document. Takes one `StartInput`; its result is the document's output."""

    def __init__(self) -> None:
        self._trace = Trace()
        self._scheduler: Scheduler | None = None
        self._started: float | None = None
        self._phase = "pending"
        self._suspended = False
        self._resources: dict[str, str] = {}

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> JSON:
        """Run the document named by the workflow type, or the one in the start input."""
        try:
            output = await self._execute(args)
        except WorkflowError as error:
            self._phase = "faulted"
            raise failure_of(error) from None
        except asyncio.CancelledError:
            self._phase = "cancelled"
            raise
        self._phase = "completed"
        return output

    @workflow.query(name=engine.TRACE_QUERY)
    def trace(self) -> list[dict[str, JSON]]:
        """Return the latest 1,000 tasks, in the order in which they began."""
        return self._trace.report()

    @workflow.query
    def status(self) -> dict[str, JSON]:
        """Return the phase, when the run began, and the tasks it is at."""
        return {
            "phase": self._current_phase(),
            "startedAt": iso8601(self._started),
            "tasks": [entry["pointer"] for entry in self._trace.report() if not entry["ended"]],
        }

    @workflow.signal
    def suspend(self) -> None:
        """Stop at task boundaries; effects under way are not stopped."""
        self._set_suspended(True)

    @workflow.signal
    def resume(self) -> None:
        """Continue after `suspend`."""
        self._set_suspended(False)

    def _set_suspended(self, suspended: bool) -> None:
        self._suspended = suspended
        if self._scheduler is not None:
            self._scheduler.set_suspended(suspended)

    def _current_phase(self) -> str:
        if self._phase != "running" or self._scheduler is None:
            return self._phase
        if self._suspended:
            return "suspended"
        return "waiting" if self._scheduler.idle else "running"

    async def _execute(self, args: Sequence[RawValue]) -> JSON:
        start = _read_arguments(args)
        if start.state is None and any(json_text.is_suspect(arg.payload.data) for arg in args):
            _check_input(start.input)
        text = start.document
        if text is None:
            text = await _resolve(workflow.info().workflow_type)
        if start.validate:
            return validate_document(text)
        program = compile_document(text, continued=start.state is not None)
        if program.missing:
            self._resources = await _resources_of(start, program)
            program = compile_with_resources(
                text, self._resources, continued=start.state is not None
            )
        scheduler = self._scheduler = Scheduler(start.options)
        run = self._prepare(program, start, scheduler)
        # Not the run itself: its data would stay until the next collection of garbage.
        self._started = run.facts.started
        scheduler.suspended = self._suspended
        self._phase = "running"
        try:
            ended = await scheduler.drive(run)
        except (asyncio.CancelledError, ActivityError) as error:
            if not is_cancelled_exception(error):
                raise
            await scheduler.settle(run)
            raise asyncio.CancelledError from None
        if not ended:
            await self._continue_as_new(run, start, text)
        await scheduler.settle(run)
        if run.failure is not None:
            raise run.failure
        _check_output(run.outcome)
        return run.outcome

    def _prepare(self, program: Program, start: Start, scheduler: Scheduler) -> Interpreter:
        info = workflow.info()
        if start.state is None:
            facts = RunFacts(program, info.workflow_id, start.input, workflow.time())
            run = Interpreter(facts, scheduler, self._trace, scheduler.pace)
            run.begin(start.input)
        else:
            state = start.state
            facts = RunFacts(program, info.workflow_id, input_of(state), state["startedAt"])
            run = Interpreter(facts, scheduler, self._trace, scheduler.pace)
            load_run(run, state)
            self._suspended = self._suspended or bool(state.get("suspended"))
        scheduler.enqueue(run.main)
        return run

    async def _continue_as_new(self, run: Interpreter, start: Start, text: str) -> NoReturn:
        await workflow.wait_condition(workflow.all_handlers_finished)
        state = dump_run(run)
        if is_too_large(state):
            raise too_large("the state of the run")
        state["suspended"] = self._suspended
        if self._resources:
            state["resources"] = dict(self._resources)
        workflow.continue_as_new(
            continued_start(text, start.options, state),
            initial_versioning_behavior=versions.continue_as_new_behavior(),
        )


def _read_arguments(args: Sequence[RawValue]) -> Start:
    converter = workflow.payload_converter()
    try:
        return read_start(*(converter.from_payload(arg.payload) for arg in args))
    except (ValueError, RuntimeError) as error:
        raise _misconfigured(str(error)).with_refusal(Refusal.START) from None


def _check_input(data: JSON) -> None:
    problem = json_text.problem_in(data)
    if problem and workflow.patched(JSON_DATA):
        error = WorkflowError.of(VALIDATION, f"the input is not JSON: {problem}", "/")
        raise error.with_refusal(Refusal.INPUT)


def _check_output(data: JSON) -> None:
    size = encoded_size(data, MAX_STATE_BYTES)
    if exceeds_state(size):
        raise too_large("the output")
    problem = json_text.problem_in(data) if size.suspects else ""
    if problem and workflow.patched(JSON_DATA):
        raise WorkflowError.of(EXPRESSION, f"the output is not JSON: {problem}", "/")


async def _resolve(workflow_type: str) -> str:
    try:
        return await workflow.execute_local_activity_method(
            EngineActivities.resolve_definition,
            workflow_type,
            schedule_to_close_timeout=_RESOLVE_TIMEOUT,
            retry_policy=_RESOLVE_RETRIES,
        )
    except FailureError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from None
        # A local activity's own error arrives bare, its timeout as an ActivityError's cause.
        cause = error.cause if isinstance(error, ActivityError) else error
        failure = _misconfigured(cause.message if isinstance(cause, FailureError) else str(error))
        if isinstance(cause, ApplicationError) and cause.type == Refusal.UNKNOWN_DOCUMENT:
            failure = failure.with_refusal(Refusal.UNKNOWN_DOCUMENT)
        raise failure from None


async def _resources_of(start: Start, program: Program) -> dict[str, str]:
    if start.state is not None and "resources" in start.state:
        return dict(start.state["resources"])
    return await fetch_resources(program.missing)


def _misconfigured(detail: str) -> WorkflowError:
    return WorkflowError.of(CONFIGURATION, detail, "/")
