"""The tools of an agent: what its model is told of them, and checks of what it calls."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ai_worker.models.output import OutputSchema
from ai_worker.models.provider import ToolDefinition
from stigma.agent.v1.agent_execution_pb2 import Message, Part, ToolCall, ToolResult
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import json_text, limits, tool_results, tools

MALFORMED = "malformed_arguments"
"""Key under which arguments that are no JSON object go back to the model, as JSON."""

_SUBJECT = "the arguments object"
_MAX_MALFORMED_CHARACTERS = 4_000


class Toolset:
    """The tools of one agent."""

    def __init__(self, agent_tools: Sequence[Tool]) -> None:
        """Read the tools' schemas.

        Raises:
            CallError: a schema is not a JSON Schema.
        """
        self.definitions = [
            ToolDefinition(tool.name, tool.description, tools.model_schema(tool))
            for tool in agent_tools
        ]
        self._schemas = {
            each.name: OutputSchema(json_text.compact(dict(each.schema)), _SUBJECT)
            for each in self.definitions
        }

    def check(self, step: int, message: Message) -> tuple[Message, list[ToolResult], str]:
        """Give calls their ids, and refuse those that cannot be made.

        Returns:
            The message with ids and with arguments that are JSON objects, the results of the calls
            that are refused, and the id of the call whose arguments are the output; empty for none.
        """
        checked = Message(role=message.role)
        refused: list[ToolResult] = []
        output_call = ""
        number = 0
        for part in message.parts:
            added = checked.parts.add()
            added.CopyFrom(part)
            if not part.HasField("tool_call"):
                continue
            number += 1
            call = added.tool_call
            call.call_id = tools.call_id(step, number)
            if call.name == tools.OUTPUT_TOOL and not output_call:
                output_call = call.call_id
                call.arguments_json = call.arguments_json.strip() or "{}"
                continue
            problem = self._problem(added, number)
            if problem:
                refused.append(tool_results.of_refusal(call, problem))
        return checked, refused, output_call

    def _problem(self, part: Part, number: int) -> str:
        """Return why a call cannot be made; rewrites its arguments as an object."""
        call = part.tool_call
        given = call.arguments_json
        problem = _normalise(call)
        if call.name not in self._schemas:
            known = ", ".join(sorted(self._schemas))
            return f"There is no tool {call.name[:64]!r}. The tools are: {known}."
        if problem:
            return f"The call was not made: {problem}"
        if number > limits.MAX_CALLS_AT_ONCE:
            return f"An answer may call at most {limits.MAX_CALLS_AT_ONCE} tools at once."
        checked = self._schemas[call.name].check(call.arguments_json)
        if checked.error:
            if given != call.arguments_json:
                return f"The call was not made, without arguments: {checked.error}"
            return f"The call was not made: {checked.error}"
        return ""


def _normalise(call: ToolCall) -> str:
    """Make the arguments of a call a JSON object, and return what is wrong with them.

    Some models send nothing, or null, for a tool that takes no arguments.
    """
    text = call.arguments_json.strip()
    if text in {"", "null"}:
        call.arguments_json = "{}"
        return ""
    try:
        value = json_text.parse(text)
    except json.JSONDecodeError as error:
        problem = f"the arguments are not JSON: line {error.lineno}, column {error.colno}"
    except ValueError:
        problem = "the arguments are JSON that cannot be carried"
    else:
        if isinstance(value, dict):
            call.arguments_json = text
            return ""
        problem = "the arguments are not a JSON object"
    call.arguments_json = json_text.compact({MALFORMED: text[:_MAX_MALFORMED_CHARACTERS]})
    return problem
