"""Settings, tools and output of a model call, as pydantic-ai's parameters of a request."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from pydantic_ai.exceptions import ModelRequestRejectedError, UserError
from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition as WireTool

from ai_worker.models.output import OutputSchema
from ai_worker.models.provider import ToolDefinition
from stigma.contracts.tools import OUTPUT_TOOL
from stigma.internal.v1.execution_pb2 import ModelCallRequest

_OUTPUT_DESCRIPTION = "Give the final result and end the task. Call it alone, as the last."


def model_settings(request: ModelCallRequest) -> ModelSettings:
    """Return the settings that the request has; the provider's defaults apply otherwise."""
    settings = ModelSettings()
    if request.settings.HasField("temperature"):
        settings["temperature"] = request.settings.temperature
    if request.settings.HasField("top_p"):
        settings["top_p"] = request.settings.top_p
    if request.settings.HasField("max_tokens"):
        settings["max_tokens"] = request.settings.max_tokens
    return settings


def request_parameters(
    request: ModelCallRequest, tools: Sequence[ToolDefinition], model: Model[Any]
) -> ModelRequestParameters:
    """Return the instructions, the tools, and how the model is to give its output.

    Beside tools the output is a tool's call, unless the model would stop thinking for it; it is the
    model's native structured output otherwise, or asked for in words where there is none.
    """
    parameters = ModelRequestParameters(
        function_tools=[_wire_tool(tool) for tool in tools],
        instruction_parts=_instruction_parts(request.instructions),
    )
    if not request.output_schema:
        return parameters
    schema = OutputSchema(request.output_schema)
    if schema.document.get("type") != "object":
        # Neither tools nor native output take it.
        return replace(
            parameters,
            instruction_parts=_instruction_parts(request.instructions, schema.instructions),
        )
    parameters = replace(
        parameters,
        output_mode="native",
        output_object=OutputObjectDefinition(json_schema=deepcopy(schema.document), name="output"),
    )
    if tools:
        parameters = replace(
            parameters, output_mode="auto", output_tools=[_output_tool(schema.document)]
        )
    if _is_supported(parameters, model_settings(request), model):
        return parameters
    return replace(parameters, output_mode="prompted", output_tools=[])


def _is_supported(
    parameters: ModelRequestParameters, settings: ModelSettings, model: Model[Any]
) -> bool:
    """Return whether a model takes the output's schema in this way: it may have none, or limits."""
    try:
        model.prepare_request(settings, parameters)
    except (UserError, ModelRequestRejectedError):
        return False
    return True


def _wire_tool(tool: ToolDefinition) -> WireTool:
    # Never strict: others wrote the schemas, and providers' strict modes take only a part of them.
    return WireTool(
        name=tool.name,
        description=tool.description,
        # Arguments are an object, and providers want it said.
        parameters_json_schema={**deepcopy(dict(tool.schema)), "type": "object"},
        strict=False,
    )


def _output_tool(schema: dict[str, Any]) -> WireTool:
    return WireTool(
        name=OUTPUT_TOOL,
        description=_OUTPUT_DESCRIPTION,
        parameters_json_schema=deepcopy(schema),
        strict=False,
        kind="output",
    )


def _instruction_parts(*texts: str) -> list[InstructionPart]:
    # One part: of two, servers get two system messages, and some refuse the second.
    text = "\n\n".join(filter(None, texts))
    return [InstructionPart(content=text)] if text else []
