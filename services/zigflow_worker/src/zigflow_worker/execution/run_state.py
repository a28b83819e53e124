"""The state of a run as plain JSON, as it is carried over to the next run.

Its form is history: runs of 0.1.0 continue from it, and after a rollback 0.1.0 from ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio import workflow

from zigflow_worker.changes import UTF8_SIZES
from zigflow_worker.errors import RUNTIME, WorkflowError
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.expressions import JSON
from zigflow_worker.program.encoded_sizes import EncodedSize, encoded_size
from zigflow_worker.program.model import Branch, BranchState, Frame
from zigflow_worker.program.pool import PoolReader, PoolWriter

MAX_STATE_BYTES = 3 * 512 * 1024
"""A larger state is an error of the run: Temporal refuses payloads of 2 MiB."""
_MAX_TRACE_BYTES = 128 * 1024


def dump_run(run: Interpreter) -> dict[str, JSON]:
    """Return the state of a run that has no effect under way."""
    entries, places = _dump_trace(run)
    pool = PoolWriter(places)
    state: dict[str, JSON] = {
        "startedAt": run.facts.started,
        "input": pool.add(run.facts.input),
        "context": pool.add(run.context),
        "stack": _dump_stack(run.main, pool),
        "trace": entries,
    }
    state["values"] = pool.values
    return state


def load_run(run: Interpreter, state: Mapping[str, Any]) -> None:
    """Restore what `dump_run` returned into a run that has not begun."""
    pool = PoolReader(state["values"])
    run.context = pool[state["context"]]
    run.trace.entries.extend(state["trace"])
    _load_stack(run, run.main, state["stack"], pool, {})


def input_of(state: Mapping[str, Any]) -> JSON:
    """Return the raw input of the run that was dumped."""
    value: JSON = state["values"][state["input"]]
    return value


def is_too_large(value: JSON) -> bool:
    """Return whether a value cannot be carried over."""
    return exceeds_state(encoded_size(value, MAX_STATE_BYTES))


def exceeds_state(size: EncodedSize) -> bool:
    """Return whether data of this size cannot be carried over."""
    exceeds, did_exceed = size.utf8 > MAX_STATE_BYTES, size.estimate_0_1_0 > MAX_STATE_BYTES
    if exceeds == did_exceed or workflow.patched(UTF8_SIZES):
        return exceeds
    return did_exceed


def too_large(what: str) -> WorkflowError:
    """Return the error for data that cannot be carried over."""
    detail = f"{what} is larger than {MAX_STATE_BYTES} bytes, or nested too deep"
    return WorkflowError.of(RUNTIME, detail).with_reason("TOO_LARGE")


def _dump_stack(branch: Branch, pool: PoolWriter) -> list[JSON]:
    return [_dump_frame(frame, pool) for frame in branch.stack]


def _dump_frame(frame: Frame, pool: PoolWriter) -> JSON:
    return {
        "task": frame.step.key,
        "raw": pool.add(frame.raw),
        "input": pool.add(frame.input),
        "attempt": frame.attempt,
        "started": frame.started,
        "deadline": frame.deadline,
        "block": None if frame.block is None else frame.block.pointer,
        "index": frame.index,
        "data": pool.add(frame.data),
        "state": _dump_state(frame, pool),
        "trace": pool.trace_places.get(id(frame.entry)),
    }


def _dump_state(frame: Frame, pool: PoolWriter) -> JSON:
    if frame.step.operation.has_branches:
        return [_dump_branch(child, pool) for child in frame.branches]
    return frame.step.operation.dump(frame, pool)


def _dump_branch(branch: Branch, pool: PoolWriter) -> JSON:
    if branch.completed:
        return {"output": pool.add(branch.output)}
    return {"stack": _dump_stack(branch, pool)}


def _load_stack(
    run: Interpreter,
    branch: Branch,
    frames: list[dict[str, Any]],
    pool: PoolReader,
    variables: Mapping[str, JSON],
) -> None:
    """Restore a branch's stack; `variables` are those around it."""
    program = run.facts.program
    for saved in frames:
        frame = Frame(
            program.steps[saved["task"]],
            pool[saved["raw"]],
            variables,
            saved["attempt"],
            saved["started"],
        )
        frame.input = pool[saved["input"]]
        frame.deadline = saved["deadline"]
        frame.block = None if saved["block"] is None else program.blocks[saved["block"]]
        frame.index = saved["index"]
        frame.data = pool[saved["data"]]
        if saved["trace"] is not None:
            frame.entry = run.trace.entries[saved["trace"]]
        if frame.step.operation.has_branches:
            frame.branches = [
                _load_branch(run, branch, frame, child, pool) for child in saved["state"]
            ]
        frame.step.operation.load(frame, saved["state"], pool)
        branch.stack.append(frame)
        variables = frame.variables


def _load_branch(
    run: Interpreter, parent: Branch, frame: Frame, saved: dict[str, Any], pool: PoolReader
) -> Branch:
    branch = Branch(parent)
    if "output" in saved:
        branch.state = BranchState.ENDED
        branch.completed = True
        branch.output = pool[saved["output"]]
    else:
        _load_stack(run, branch, saved["stack"], pool, frame.variables)
    return branch


def _dump_trace(run: Interpreter) -> tuple[list[JSON], dict[int, int]]:
    """Return the latest entries that fit, and where each is."""
    kept: list[list[JSON]] = []
    size = 0
    for entry in reversed(run.trace.entries):
        size += encoded_size(entry, _MAX_TRACE_BYTES).estimate_0_1_0
        if size > _MAX_TRACE_BYTES:
            break
        kept.append(entry)
    kept.reverse()
    return list(kept), {id(entry): place for place, entry in enumerate(kept)}
