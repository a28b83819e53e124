"""The tools of an agent: what its model is told of them, and checks of what it calls."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence

from ai_worker.conversations.arguments_schema import ArgumentsSchema
from ai_worker.models.provider import ToolDefinition
from stigma.agent.v1.agent_execution_pb2 import Message, Part, ToolCall, ToolResult
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import json_text, limits, tool_results, tools

MALFORMED = "malformed_arguments"
"""Key under which arguments that are no JSON object go back to the model, as JSON."""

_MAX_MALFORMED_CHARACTERS = 4_000
_MAX_NAME_CHARACTERS = 64
# Bytes of the arguments of all calls of one answer: the answer must still fit into history.
_MAX_ARGUMENTS_BYTES = 1024 * 1024
# Levels of arguments; JSON parsers of workers in other languages stop at a few hundred.
_MAX_DEPTH = 100
_MAX_CALLS = limits.MAX_CALLS_AT_ONCE


class Toolset:
    """The tools of one agent."""

    def __init__(self, agent_tools: Sequence[Tool], *, has_output: bool = True) -> None:
        """Read the tools' schemas.

        Args:
            agent_tools: of the agent.
            has_output: whether the model may give its output by a call.

        Raises:
            CallError: a schema is not a JSON Schema.
        """
        self.definitions = [
            ToolDefinition(tool.name, tool.description, tools.model_schema(tool))
            for tool in agent_tools
        ]
        self._has_output = has_output
        self._schemas = {
            each.name: ArgumentsSchema(json_text.compact(dict(each.schema)))
            for each in self.definitions
        }

    def check(self, step: int, message: Message) -> tuple[Message, list[ToolResult], str]:
        """Give calls their ids, and refuse those that cannot be made.

        Returns:
            The message with ids and with arguments that are JSON objects, the results of the calls
            that are refused, and the id of the call whose arguments are the output; empty for none.
        """
        answer = _CheckedAnswer(self._schemas, step, message, has_output=self._has_output)
        return answer.message, answer.refused, answer.output_call


class _CheckedAnswer:
    """One answer as it is checked."""

    def __init__(
        self,
        schemas: Mapping[str, ArgumentsSchema],
        step: int,
        message: Message,
        *,
        has_output: bool,
    ) -> None:
        self.message = Message(role=message.role)
        self.refused: list[ToolResult] = []
        self.output_call = ""
        self._schemas = schemas
        self._has_output = has_output
        self._step = step
        self._wanted = sum(part.HasField("tool_call") for part in message.parts)
        self._calls = self._bytes = 0
        for part in message.parts:
            if not part.HasField("tool_call"):
                self.message.parts.add().CopyFrom(part)
            elif self._calls <= _MAX_CALLS:
                self._add_call(part)

    def _add_call(self, part: Part) -> None:
        """Add a call with its id; a refused one has its result."""
        self._calls += 1
        added = self.message.parts.add()
        added.CopyFrom(part)
        call = added.tool_call
        call.call_id = tools.call_id(self._step, self._calls)
        if call.name == tools.OUTPUT_TOOL and self._has_output and not self.output_call:
            self.output_call = call.call_id
            call.arguments_json = _or_empty_object(call.arguments_json)
            return
        if problem := self._problem(call):
            self.refused.append(tool_results.of_refusal(call, problem))

    def _problem(self, call: ToolCall) -> str:
        """Return why a call cannot be made; rewrites its arguments as an object."""
        if self._calls > _MAX_CALLS:
            call.arguments_json = "{}"
            return (
                f"An answer may call at most {_MAX_CALLS} tools at once; this one called "
                f"{self._wanted}. This call and those after it were not made. Make them again, "
                "fewer at a time."
            )
        if call.name == tools.OUTPUT_TOOL and self._has_output:
            call.arguments_json = "{}"
            return f"{tools.OUTPUT_TOOL} was called twice in one answer; the first call counts."
        is_empty = _or_empty_object(call.arguments_json) != call.arguments_json.strip()
        problem = self._size_problem(call) or _normalise(call)
        if call.name not in self._schemas:
            call.name = call.name[:_MAX_NAME_CHARACTERS]
            return self._unknown(call.name)
        if problem:
            return f"The call was not made: {problem}."
        checked = self._schemas[call.name].check(call.arguments_json)
        if not checked.error:
            return ""
        without = ", without arguments" if is_empty else ""
        return f"The call was not made{without}: {checked.error}."

    def _size_problem(self, call: ToolCall) -> str:
        """Count the arguments of a call, and return what is wrong with their size."""
        size = len(call.arguments_json.encode())
        if self._bytes + size <= _MAX_ARGUMENTS_BYTES:
            self._bytes += size
            return ""
        call.arguments_json = _malformed(call.arguments_json)
        return (
            f"the arguments have {size} bytes; those of all calls of an answer may have "
            f"{_MAX_ARGUMENTS_BYTES}"
        )

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._schemas, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return (
            f"There is no tool {name!r}.{hint} The tools are: {', '.join(sorted(self._schemas))}."
        )


def _or_empty_object(text: str) -> str:
    """Return the text of arguments: some models send nothing, or null, for no arguments."""
    text = text.strip()
    return "{}" if text in {"", "null"} else text


def _normalise(call: ToolCall) -> str:
    """Make the arguments of a call a JSON object, and return what is wrong with them."""
    text = _or_empty_object(call.arguments_json)
    try:
        value = json_text.parse(text)
    except json.JSONDecodeError as error:
        problem = f"the arguments are not JSON: line {error.lineno}, column {error.colno}"
    except json_text.NestingError:
        problem = f"the arguments are nested more than {_MAX_DEPTH} deep"
    except UnicodeEncodeError:
        problem = "the arguments have half of a surrogate pair, which is no character"
    except ValueError:
        problem = "the arguments have a number that is out of range"
    else:
        if not isinstance(value, dict):
            problem = "the arguments are not a JSON object"
        elif _is_deep(value):
            problem = f"the arguments are nested more than {_MAX_DEPTH} deep"
        else:
            call.arguments_json = text
            return ""
    call.arguments_json = _malformed(text)
    return problem


def _malformed(text: str) -> str:
    return json_text.compact({MALFORMED: text[:_MAX_MALFORMED_CHARACTERS]})


def _is_deep(value: object) -> bool:
    """Return whether JSON is nested more deeply than arguments may be; without recursion."""
    level: list[object] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)
