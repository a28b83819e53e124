"""`stigma execution approve`, `deny`, `answer`, `decline` and `send`: people to running agents."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
    PENDING_INPUT_KIND_CLIENT_TOOL,
    PENDING_INPUT_KIND_ELICITATION,
    PENDING_INPUT_KIND_QUESTION,
    PendingInput,
)
from stigma.agent.v1.agent_execution_service_pb2 import (
    InputAnswer,
    InputApproval,
    InputDecline,
    InputDenial,
    SubmitAgentInputRequest,
)
from stigma.contracts.indented_json import indent_json
from stigma_cli.connections import Api, open_api
from stigma_cli.errors import CliError, Exit
from stigma_cli.input_calls import find_input, send_message, submit
from stigma_cli.input_text import detail_lines, resolved_text
from stigma_cli.options import not_empty
from stigma_cli.output import Format, Output, as_json, print_details, print_json, print_line
from stigma_cli.run_inputs import read_input_text
from stigma_cli.terminal_text import escape_line

_APPROVALS = frozenset((PENDING_INPUT_KIND_APPROVAL,))
_ANSWERED = frozenset(
    (
        PENDING_INPUT_KIND_QUESTION,
        PENDING_INPUT_KIND_CLIENT_TOOL,
        PENDING_INPUT_KIND_ELICITATION,
        PENDING_INPUT_KIND_AUTHORIZATION,
    )
)
# Digest of an approval for an input that is not pending: it fits none, and the refusal says why.
_NO_DIGEST = "-"

ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="The execution's id.")]
InputId = Annotated[
    str,
    typer.Argument(
        metavar="[INPUT]",
        help="The input's id; may be left out for the first, where exactly one is pending.",
    ),
]
Reason = Annotated[
    str, typer.Option(metavar="TEXT", help="For the model and for people; recorded.")
]


def approve(  # noqa: PLR0917 - typer calls it
    execution: ExecutionId,
    input_id: InputId = "",
    edit: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            callback=not_empty,
            help="Call with these arguments instead: JSON, or @FILE. Where the rule allows it.",
        ),
    ] = None,
    remember: Annotated[
        bool,
        typer.Option(
            "--remember",
            help="For all further calls of this tool by this execution, where the rule allows it.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = Format.TEXT,
) -> None:
    """Approve a call of a tool.

    Shows its arguments in full, and asks before it answers.
    """
    arguments = _json_text("--edit", edit) if edit is not None else ""
    approval = InputApproval(arguments_json=arguments, remember=remember)
    asyncio.run(_approve(execution, input_id, approval, output, yes=yes))


def deny(
    execution: ExecutionId,
    input_id: InputId = "",
    reason: Reason = "",
    output: Output = Format.TEXT,
) -> None:
    """Deny a call of a tool: the model is told so."""
    request = SubmitAgentInputRequest(deny=InputDenial(reason=reason))
    asyncio.run(_answer(execution, input_id, request, output))


def answer(
    execution: ExecutionId,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT] [TEXT]",
            help="The input's id, which may be left out for the first that is asked, where exactly "
            "one is pending; then the answer in words, unless --json gives it.",
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="JSON", callback=not_empty, help="JSON, or @FILE with it."),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Answer a question, a client's tool, or an MCP server.

    Where there is a schema, the answer must satisfy it: words are a JSON string then. The answer to
    a form is a JSON object; that to a page which you have opened is the word done.
    """
    given = list(words or ())
    if json is not None:
        reply = InputAnswer(json=_json_text("--json", json))
    elif given:
        reply = InputAnswer(text=given.pop())
    else:
        raise CliError("give the answer as TEXT, or with --json", code=Exit.USAGE)
    if len(given) > 1:
        message = "give [INPUT] and one TEXT: put an answer of several words in quotes"
        raise CliError(message, code=Exit.USAGE)
    request = SubmitAgentInputRequest(reply=reply)
    asyncio.run(_answer(execution, "".join(given), request, output))


def decline(
    execution: ExecutionId,
    input_id: InputId = "",
    reason: Reason = "",
    output: Output = Format.TEXT,
) -> None:
    """Say that nobody will answer."""
    request = SubmitAgentInputRequest(decline=InputDecline(reason=reason))
    asyncio.run(_answer(execution, input_id, request, output))


def send(
    execution: ExecutionId,
    message: Annotated[
        str,
        typer.Argument(metavar="MESSAGE", help="The model reads it before its next call."),
    ],
    output: Output = Format.TEXT,
) -> None:
    """Send a message to a running agent with tools."""
    asyncio.run(_send(execution, message, output))


async def _approve(
    execution_id: str, input_id: str, approval: InputApproval, output: Format, *, yes: bool
) -> None:
    request = SubmitAgentInputRequest(id=execution_id, input_id=input_id, approve=approval)
    async with open_api() as api:
        found = await find_input(api, execution_id, input_id, _APPROVALS, is_shown=not yes)
        if found is not None:
            _show(found, approval)
            if not yes:
                await _confirm(found)
        await _submit(api, request, found, output)


async def _answer(
    execution_id: str, input_id: str, request: SubmitAgentInputRequest, output: Format
) -> None:
    kinds = _APPROVALS if request.HasField("deny") else _ANSWERED
    request.id, request.input_id = execution_id, input_id
    async with open_api() as api:
        found = await find_input(api, execution_id, input_id, kinds)
        await _submit(api, request, found, output)


async def _submit(
    api: Api, request: SubmitAgentInputRequest, found: PendingInput | None, output: Format
) -> None:
    if found is not None:
        request.input_id, request.arguments_digest = found.id, found.arguments_digest
    elif request.HasField("approve"):
        request.arguments_digest = _NO_DIGEST
    resolution = await submit(api, request)
    if output is Format.JSON:
        print_json(as_json(resolution))
    else:
        question = " ".join(found.question.split()) if found is not None else ""
        text = resolved_text(resolution)
        print_line(escape_line(f"{text}: {question}" if question else text))


async def _send(execution_id: str, message: str, output: Format) -> None:
    async with open_api() as api:
        response = await send_message(api, execution_id, message)
    if output is Format.JSON:
        print_json(as_json(response))
    else:
        print_line(f"{execution_id} has the message: the model reads it before its next call")


def _show(found: PendingInput, approval: InputApproval) -> None:
    lines = [*detail_lines(found)]
    if approval.arguments_json:
        lines += ["to be called instead with:", indent_json(approval.arguments_json)]
    if approval.remember:
        lines += [f"and so all further calls of {found.tool} by this execution"]
    print_details(lines)


async def _confirm(found: PendingInput) -> None:
    if not sys.stdin.isatty():
        raise CliError(f"will not approve {found.id} without --yes", code=Exit.USAGE)
    question = escape_line(f"Approve this call of {found.tool}?")
    if not await asyncio.to_thread(typer.confirm, question, err=True):
        raise CliError("nothing was answered: the call still waits")


def _json_text(option: str, text: str) -> str:
    try:
        return read_input_text(text)
    except ValueError as error:
        raise CliError(f"{option}: {error}", code=Exit.USAGE) from None
