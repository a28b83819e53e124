"""Warnings about documents and agents that are valid: what they name, and what never plays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from stigma.agent.v1.agent_pb2 import Agent, ScriptStep
from stigma.agent.v1.agent_service_pb2 import GetAgentRequest
from stigma.contracts import tools
from stigma_cli.errors import CliError, Exit
from stigma_cli.places import place_of_child

_MAX_NAMES = 50
_WHOLE = r'an expression is the whole text, as in ${ "hello \(.name)" }'
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class NamedAgent:
    """An agent that something names."""

    name: str
    place: str
    """Of the name: the file, and its line where that is known."""


def agents_called(file: str, document: Any) -> Iterator[NamedAgent]:
    """Yield the agents that `call: agent` tasks of a document name, but for expressions."""
    for task, key, call in _items_in(document):
        arguments = task.get("with") if key == "call" and isinstance(task, Mapping) else None
        if call == "agent" and isinstance(arguments, Mapping):
            name = arguments.get("agent")
            if isinstance(name, str) and "${" not in name:
                yield NamedAgent(name, _place(file, arguments, "agent"))


def texts_with_expressions(file: str, document: Any) -> Iterator[str]:
    """Yield a warning for each text that has an expression in it, and so is none as a whole."""
    for values, key, value in _items_in(document):
        is_text = isinstance(value, str) and key != "document"  # that is a document itself
        if is_text and "${" in value and not _is_expression(value):
            line, column = place_of_child(values, key) or (0, 0)
            place = f"{file}:{line}:{column}" if line else file
            yield f"{place}: this text is taken as it is: {_WHOLE}"


def _items_in(document: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield each map or list with each of its keys and values; what an alias repeats once."""
    pending, seen = [document], {id(document)}
    while pending:
        values = pending.pop()
        children: list[tuple[Any, Any]] = []
        if isinstance(values, CommentedMap):
            children = list(values.items())
        elif isinstance(values, CommentedSeq):
            children = list(enumerate(values))
        for key, value in children:
            yield values, key, value
        inner = [value for _, value in children if id(value) not in seen]
        seen.update(map(id, inner))
        pending += reversed(inner)


def _is_expression(text: str) -> bool:
    return text.strip().startswith("${") and text.strip().endswith("}")


def agents_used(file: str, agent: Agent) -> Iterator[NamedAgent]:
    """Yield the agents that an agent's tools name."""
    for name in tools.agents_called(agent.spec):
        yield NamedAgent(name, f"{file} ({agent.name})")


async def unknown_agents(named: Iterable[NamedAgent]) -> list[str]:
    """Return a warning for each agent that is not registered; none where nobody can tell."""
    from stigma_cli.connections import open_api  # noqa: PLC0415 - most files name no agent

    first = {each.name: each for each in reversed(list(named))}
    warnings = []
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS), open_api() as api:
            for name, each in list(first.items())[:_MAX_NAMES]:
                try:
                    await api.call(api.agents.GetAgent, GetAgentRequest(id=name))
                except CliError as error:
                    if error.code is not Exit.NOT_FOUND:
                        raise
                    warnings.append(f"{each.place}: agent {name} is not registered")
    except CliError:
        return []
    except TimeoutError:
        warnings.append(f"agents were not looked up: {api.server} did not answer in time")
    return sorted(warnings)


def silent_steps(agent: Agent) -> list[str]:
    """Return a warning for the steps of a script that no execution plays."""
    spec, steps = agent.spec, agent.spec.script.steps
    if spec.limits.steps and len(steps) > spec.limits.steps:
        return [_never(spec.limits.steps, len(steps), f"its limit is {spec.limits.steps} steps")]
    if spec.output_schema:  # an answer that breaks it is asked for once more
        return []
    last = next((at for at, step in enumerate(steps, start=1) if _ends_the_run(step)), len(steps))
    if last == len(steps):
        return []
    why = f"step {last} is an answer, which ends the execution"
    if spec.tools:  # messages sent meanwhile have the model asked once more
        why = f"{why}, but for messages sent while it is given"
    return [_never(last, len(steps), why)]


def _ends_the_run(step: ScriptStep) -> bool:
    is_told = step.pause or step.HasField("failure") or step.HasField("cut")
    return not step.tool_calls and not is_told


def _never(last: int, count: int, why: str) -> str:
    steps = f"step {count}" if count == last + 1 else f"steps {last + 1} to {count}"
    plays = "plays" if count == last + 1 else "play"
    return f"{steps} of the script never {plays}: {why}"


def _place(file: str, values: Any, key: str) -> str:
    lines = getattr(values, "lc", None)
    return file if lines is None else f"{file}:{lines.key(key)[0] + 1}"
