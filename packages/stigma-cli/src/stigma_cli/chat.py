"""`stigma chat`: an agent at the terminal."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Awaitable
from typing import Annotated, Any

import typer

from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    SubmitAgentInputRequest,
    WatchAgentExecutionResponse,
)
from stigma.contracts.executions import Execution, phase_name
from stigma_cli.chat_prompts import Prompt, prompt_for
from stigma_cli.connections import Api, open_api
from stigma_cli.conversation_text import call_text, result_text
from stigma_cli.errors import CliError, Exit
from stigma_cli.execution_calls import Event
from stigma_cli.execution_text import outcome
from stigma_cli.executions import completed, goes_on_when_interrupted
from stigma_cli.input_calls import inputs_of, send_message, submit
from stigma_cli.input_text import command_for, people_text
from stigma_cli.options import not_empty
from stigma_cli.output import print_error, print_line, print_note
from stigma_cli.quiet_executions import noted_events
from stigma_cli.terminal_text import escape_line
from stigma_cli.typed_lines import TypedLines

# Refusals of an answer that another answer may mend.
_TRY_AGAIN = frozenset(("SCHEMA_MISMATCH", "ANSWER_NOT_ALLOWED"))
# Refusals of a message that is to be a new task instead.
_ASK_LATER = frozenset(("NOT_RUNNING", "MESSAGES_NOT_TAKEN"))


def chat(
    agent: Annotated[
        str, typer.Argument(metavar="AGENT", help="NAME for the newest version, or NAME@VERSION.")
    ],
    session: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            callback=not_empty,
            help="Session that goes on; a new one if left out.",
        ),
    ] = None,
) -> None:
    """Talk to an agent at the terminal.

    The first line starts it. What you type while it runs is sent to it as a message; what it asks
    for meanwhile, approvals, answers to questions and results of clients' tools, is asked here. The
    line after its end goes on with the conversation, in the same session, which `--session` goes on
    with later, too.

    Lines of a pipe are not sent as messages: each is the next task, or the next answer. Exits 1
    unless the last execution completes.
    """
    if not asyncio.run(_chat(agent, session or f"chat-{uuid.uuid4().hex[:12]}")):
        raise typer.Exit(Exit.FAILED)


async def _chat(agent: str, session: str) -> bool:
    async with open_api() as api:
        return await Chat(api, TypedLines(sys.stdin), agent, session).run()


class Chat:
    """Turns of one session with an agent, one after another, as long as there are lines.

    Args:
        api: where the agent runs.
        lines: typed.
        agent: its id.
        session: of the executions.
    """

    def __init__(self, api: Api, lines: TypedLines, agent: str, session: str) -> None:
        self._api = api
        self._lines = lines
        self._agent = agent
        self._session = session
        self._prompts: list[Prompt] = []
        self._next_tasks: list[str] = []
        self._has_spoken = False
        self._is_paused = False

    async def run(self) -> bool:
        """Chat until the lines end; return whether the last execution completed."""
        has_completed = True
        if self._lines.is_terminal:
            print_note(f"session {self._session}; type the task, Ctrl-D ends")
        while (task := await self._next_task()) is not None:
            if task.strip():
                has_completed = await self._converse(task)
        return has_completed

    async def _next_task(self) -> str | None:
        return self._next_tasks.pop(0) if self._next_tasks else await self._lines.take()

    async def _converse(self, task: str) -> bool:
        request = StartAgentRequest(
            agent_id=self._agent,
            message=task,
            session_id=self._session,
        )
        started = await self._api.call_once(self._api.executions.StartAgent, request)
        print_note(f"started {started.id}")
        self._prompts, self._has_spoken, self._is_paused = [], False, False
        async with goes_on_when_interrupted(started.id):
            ended = await self._follow(started.id)
        if not completed(ended):
            print_line(escape_line(f"[{phase_name(ended)} {outcome(ended)}]"))
        elif not self._has_spoken:
            print_line(outcome(ended))
        return completed(ended)

    async def _follow(self, execution_id: str) -> Execution:
        """See events and take lines, whichever come, until the execution ends."""
        stream = noted_events(self._api, execution_id)
        upcoming = asyncio.create_task(_event_of(anext(stream)))
        try:
            while True:
                waits: set[asyncio.Future[Any]] = {upcoming}
                if self._prompts or (self._lines.is_terminal and not self._lines.have_ended):
                    waits.add(self._lines.wait())
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if upcoming.done():
                    event = upcoming.result()
                    if event.HasField("ended"):
                        return event.ended.execution
                    await self._see(event)
                    upcoming = asyncio.create_task(_event_of(anext(stream)))
                else:
                    await self._take(execution_id, await self._lines.take())
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)

    async def _see(self, event: Event) -> None:
        """Print an event, and ask for what it asks for."""
        match event:
            case WatchAgentExecutionResponse() if event.HasField("model_call_completed"):
                self._print_answer(event)
            case WatchAgentExecutionResponse() if event.HasField("tool_call_ended"):
                self._print_aside(f"tool call {result_text(event.tool_call_ended.result)}")
            case WatchAgentExecutionResponse() if event.HasField("input_requested"):
                found = event.input_requested.input
                # Nothing is returned for one that is answered already.
                for each in await inputs_of(self._api, found.execution_id, found.id):
                    self._prompts.append(prompt_for(each))
                    if len(self._prompts) == 1:
                        self._ask()
            case WatchAgentExecutionResponse() if event.HasField("input_resolved"):
                self._print_aside(people_text(event))
                # What was typed for it must not answer the next one.
                is_typing = self._lines.is_terminal
                self._forget(event.input_resolved.resolution.input_id, pause=is_typing)

    async def _take(self, execution_id: str, line: str | None) -> None:
        """Take a line typed while the agent runs: an answer, or a message."""
        if line is None and not self._prompts:
            return  # it is followed to its end
        if line is None:
            hint = f"it goes on: `{command_for(self._prompts[0].found)}` answers it"
            raise CliError("the input has ended, and the agent waits for an answer", hint)
        if self._is_paused:
            self._is_paused = False
            self._ask()
        elif self._prompts:
            answer = self._prompts[0].take(line)
            if isinstance(answer, str):
                print_line(answer)
            else:
                await self._answer(self._prompts[0], answer)
        elif line.strip():
            await self._send(execution_id, line)

    async def _answer(self, prompt: Prompt, answer: SubmitAgentInputRequest) -> None:
        try:
            await submit(self._api, answer)
        except CliError as error:
            if error.code is Exit.UNREACHABLE:
                raise
            print_error((error.message,), error.hint)
            if error.reason in _TRY_AGAIN or error.code is Exit.USAGE:
                print_line(prompt.question)
                return
        self._forget(prompt.found.id)

    async def _send(self, execution_id: str, line: str) -> None:
        try:
            await send_message(self._api, execution_id, line)
        except CliError as error:
            if error.reason not in _ASK_LATER:
                raise
            print_note("the agent takes no messages now: this is its next task")
            self._next_tasks.append(line)

    def _forget(self, input_id: str, *, pause: bool = False) -> None:
        """Ask no more for what is answered; ask for the next, with `pause` after a line."""
        was_asked = bool(self._prompts) and self._prompts[0].found.id == input_id
        self._prompts = [each for each in self._prompts if each.found.id != input_id]
        if not was_asked:
            return
        self._is_paused = pause and bool(self._prompts)
        if self._is_paused:
            print_line("[press Enter for what is asked next]")
        else:
            self._ask()

    def _ask(self) -> None:
        for line in self._prompts[0].lines() if self._prompts else ():
            print_line(line)

    def _print_answer(self, event: WatchAgentExecutionResponse) -> None:
        for part in event.model_call_completed.message.parts:
            if part.text:
                self._has_spoken = True
                print_line(part.text)
            elif part.HasField("tool_call"):
                self._print_aside(f"calls {call_text(part.tool_call)}")

    @staticmethod
    def _print_aside(text: str) -> None:
        """Print what is not the agent's own words."""
        print_line(escape_line(f"[{text}]"))


async def _event_of(upcoming: Awaitable[Event]) -> Event:
    return await upcoming
