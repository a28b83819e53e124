"""Questions that `stigma chat` asks at the terminal for a pending input, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stigma.agent.v1.agent_execution_pb2 import (
    PENDING_INPUT_KIND_APPROVAL,
    PENDING_INPUT_KIND_AUTHORIZATION,
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
from stigma.contracts.typed_answers import DONE, typed_answer
from stigma_cli.strict_json import parse_json

_DECLINE = "/decline"


class Prompt:
    """Asks for the answer to a question or a form, or the result of a client's tool."""

    def __init__(self, found: PendingInput) -> None:
        self.found = found

    def lines(self) -> Iterator[str]:
        """Yield what is shown first, then what is asked."""
        if self.found.kind == PENDING_INPUT_KIND_QUESTION:
            yield f"? {self.found.question}"
        elif self.found.kind == PENDING_INPUT_KIND_ELICITATION:
            yield f"? {self.found.tool} asks: {self.found.question}"
        else:
            yield f"? run {self.found.tool} here, with"
            yield indent_json(self.found.arguments_json)
        if self.found.schema:
            yield "the answer's schema:"
            yield indent_json(self.found.schema)
        yield self.question

    @property
    def question(self) -> str:
        """Line that asks, with the answers that it takes."""
        return f"[answer in one line, or {_DECLINE} REASON]"

    def take(self, line: str) -> SubmitAgentInputRequest | str:
        """Return the answer that a line is, or what to show instead."""
        given = line.strip()
        if not given:
            return self.question
        if given.partition(" ")[0] == _DECLINE:
            decline = InputDecline(reason=given.partition(" ")[2].strip())
            return self._request(decline=decline)
        return self._request(reply=typed_answer(self.found.schema, given))

    def _request(self, **answer: Any) -> SubmitAgentInputRequest:
        return SubmitAgentInputRequest(
            id=self.found.execution_id,
            input_id=self.found.id,
            arguments_digest=self.found.arguments_digest,
            **answer,
        )


class PagePrompt(Prompt):
    """Asks a person to open a page, and to say when that is done."""

    def lines(self) -> Iterator[str]:
        """Yield the page, then what is asked."""
        yield f"? {self.found.tool} asks you to open this page: {self.found.question}"
        yield self.found.url
        yield self.question

    @property
    def question(self) -> str:
        """Line that asks, with the answers that it takes."""
        return f"[{DONE}, once you have; or {_DECLINE} REASON]"

    def take(self, line: str) -> SubmitAgentInputRequest | str:
        """Return the answer that a line is, or what to show instead."""
        given = line.strip()
        if given.lower() == DONE:
            return self._request(reply=InputAnswer(text=DONE))
        return super().take(line) if given.partition(" ")[0] == _DECLINE else self.question


class ApprovalPrompt(Prompt):
    """Asks whether a call may be made, with which arguments, and whether further ones may."""

    def __init__(self, found: PendingInput) -> None:
        super().__init__(found)
        self._is_editing = False
        self._edited = ""

    def lines(self) -> Iterator[str]:
        """Yield the call in full, then what is asked."""
        yield f"? approve {self.found.tool} with"
        yield indent_json(self.found.arguments_json)
        yield self.question

    @property
    def question(self) -> str:
        """Line that asks, with the answers that it takes."""
        if self._is_editing:
            return "[the arguments as JSON in one line, or nothing to go back]"
        choices = ["y: yes", "n REASON: no"]
        if self.found.allow_edit:
            choices.append("e: edit")
        if self.found.allow_remember:
            choices.append("a: always, in this execution")
        return f"[{', '.join(choices)}]"

    def take(self, line: str) -> SubmitAgentInputRequest | str:
        """Return the answer that a line is, or what to show instead."""
        given = line.strip()
        if self._is_editing:
            return self._edit(given)
        choice, _, rest = given.partition(" ")
        match choice.lower():
            case "y" | "yes" if not rest:
                return self._approve()
            case "a" | "always" if self.found.allow_remember and not rest:
                return self._approve(remember=True)
            case "n" | "no":
                return self._request(deny=InputDenial(reason=rest.strip()))
            case "e" | "edit" if self.found.allow_edit:
                self._is_editing = True
                return self._edit(rest.strip()) if rest.strip() else self.question
            case _:
                return self.question

    def _edit(self, given: str) -> str:
        if not given:
            self._is_editing = False
            self._edited = ""
            return self.question
        try:
            value = parse_json(given)
        except ValueError as error:
            return f"this {error}\n{self.question}"
        if not isinstance(value, dict):
            return f"this is no JSON object\n{self.question}"
        self._is_editing = False
        self._edited = given
        before, after = indent_json(self.found.arguments_json), indent_json(given)
        return f"? approve {self.found.tool}, instead of\n{before}\nwith\n{after}\n{self.question}"

    def _approve(self, *, remember: bool = False) -> SubmitAgentInputRequest:
        approval = InputApproval(arguments_json=self._edited, remember=remember)
        return self._request(approve=approval)


def prompt_for(found: PendingInput) -> Prompt:
    """Return what asks for the answer to a pending input."""
    if found.kind == PENDING_INPUT_KIND_AUTHORIZATION:
        return PagePrompt(found)
    return ApprovalPrompt(found) if found.kind == PENDING_INPUT_KIND_APPROVAL else Prompt(found)
