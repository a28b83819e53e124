"""Carrying a run over to the next: its whole state as plain JSON, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zigflow_worker.execution.frames import Branch, Frame
from zigflow_worker.execution.pool import PoolReader, PoolWriter, measured
from zigflow_worker.expressions import JSON

if TYPE_CHECKING:
    from zigflow_worker.execution.interpreter import Interpreter

MAX_STATE_BYTES = 3 * 512 * 1024
"""A larger state is an error of the run: Temporal refuses payloads of 2 MiB."""
_MAX_TRACE_BYTES = 128 * 1024


def dump_run(run: "Interpreter") -> dict[str, JSON]:
    """Return the state of a run that has no effect under way."""
    entries, places = _dump_trace(run)
    pool = PoolWriter(places)
    state: dict[str, JSON] = {
        "startedAt": run.facts.started,
        "input": pool.add(run.facts.input),
        "context": pool.add(run.context),
        "stack": dump_branch(run.main, pool),
        "trace": entries,
    }
    state["values"] = pool.values
    return state


def load_run(run: "Interpreter", state: Mapping[str, Any]) -> None:
    """Restore what `dump_run` returned into a run that has not begun."""
    pool = PoolReader(state["values"])
    run.context = pool[state["context"]]
    run.trace.entries.extend(state["trace"])
    load_branch(run, run.main, state["stack"], pool, {})


def input_of(state: Mapping[str, Any]) -> JSON:
    """Return the raw input of the run that was dumped."""
    value: JSON = state["values"][state["input"]]
    return value


def dump_branch(branch: Branch, pool: PoolWriter) -> list[JSON]:
    """Return a branch's frames, bottom first."""
    return [_dump_frame(frame, pool) for frame in branch.stack]


def _dump_frame(frame: Frame, pool: PoolWriter) -> JSON:
    return {
        "task": frame.step.pointer,
        "raw": pool.add(frame.raw),
        "input": pool.add(frame.input),
        "attempt": frame.attempt,
        "started": frame.started,
        "deadline": frame.deadline,
        "block": None if frame.block is None else frame.block.pointer,
        "index": frame.index,
        "data": pool.add(frame.data),
        "state": frame.step.operation.dump(frame, pool),
        "trace": pool.trace_places.get(id(frame.entry)),
    }


def load_branch(
    run: "Interpreter",
    branch: Branch,
    frames: list[dict[str, Any]],
    pool: PoolReader,
    variables: Mapping[str, JSON],
) -> None:
    """Restore a branch's stack; `variables` are those around it."""
    program = run.facts.program
    for kept in frames:
        frame = Frame(
            program.steps[kept["task"]],
            pool[kept["raw"]],
            variables,
            kept["attempt"],
            kept["started"],
        )
        frame.input = pool[kept["input"]]
        frame.deadline = kept["deadline"]
        frame.block = None if kept["block"] is None else program.blocks[kept["block"]]
        frame.index = kept["index"]
        frame.data = pool[kept["data"]]
        if kept["trace"] is not None:
            frame.entry = run.trace.entries[kept["trace"]]
        frame.step.operation.load(run, branch, frame, kept["state"], pool)
        branch.stack.append(frame)
        variables = frame.variables


def _dump_trace(run: "Interpreter") -> tuple[list[JSON], dict[int, int]]:
    """Return the latest entries that fit, and where each is."""
    kept: list[list[JSON]] = []
    size = 0
    for entry in reversed(run.trace.entries):
        size += measured(entry, _MAX_TRACE_BYTES)
        if size > _MAX_TRACE_BYTES:
            break
        kept.append(entry)
    kept.reverse()
    return list(kept), {id(entry): place for place, entry in enumerate(kept)}
