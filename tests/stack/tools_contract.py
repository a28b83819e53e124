"""The contract of tools: each row, and the outcome of the tests that prove it."""

from __future__ import annotations

import pytest
from typing_extensions import override

from tests.stack.contract import ContractTable

ROWS = (
    "outcome OK: the result, as it is",
    "outcome ERROR: type and message of the error",
    "outcome ERROR: a result that cannot be read",
    "outcome REFUSED: no such tool",
    "outcome REFUSED: arguments that the tool does not take",
    "outcome NOT_RUN: no worker took it in time",
    "outcome NOT_RUN: the worker has no such activity",
    "outcome UNKNOWN: no heartbeat",
    "outcome UNKNOWN: it took too long",
    "outcome UNKNOWN: its worker stopped",
    "outcome UNKNOWN: lost once, then not taken",
    "outcome CANCELLED",
    "a failed call is made once",
    "a call that is safe to repeat is repeated, under one key",
    "results in the order of the calls",
    "sequential calls run alone, in order",
    "ids of a provider may repeat",
    "the key in an argument, hidden from the model",
    "the header says whose a call is",
    "workflows and Nexus operations are tools",
    "a cancel reaches activities and children",
    "the deadline reaches them",
    "a long result is cut on a character",
    "five refused answers in a row end it",
    "limit of tool calls: a batch beyond it does not start",
    "limit of steps",
    "limit of tokens",
    "limit of cost",
    "an output beside calls is taken only if they succeeded",
    "three more answers for a valid output",
    "a cut stream is asked for again",
    "no model call carries the conversation",
    "the model is told what the workflow knows",
    "continue-as-new carries the conversation",
    "a conversation too large to carry stays in its run",
    "results that would fill the history end the run",
    "kills of our services change no answer",
    "kills of the tools double no effect",
    "a call without a rule waits for an approval",
    "a rule whose expression fails asks for an approval",
    "a rule refuses calls",
    "a denied call is not made",
    "an approval is for the arguments that were shown",
    "an approval may change the arguments, and the model is told",
    "an approval may be for further calls",
    "who started it may not approve",
    "only approvers approve",
    "of two answers at once one is taken",
    "an answer that is repeated has the same reply",
    "an expired approval is a denial",
    "an expired approval may fail the execution",
    "calls of a batch wait for no other one's approval",
    "questions and tools of clients are answered",
    "an answer satisfies its schema",
    "messages are read in order, before the agent ends",
    "a stop after the step",
    "what stops an execution ends its waiting",
    "continue-as-new carries what is waited for",
    "kills lose no answer",
    "an agent calls agents",
    "a failed agent is a result",
    "the budget of a tree of agents",
    "agents call agents only so deep, and so often",
    "what stops an agent stops those below it",
    "agents below wait for people too",
    "kills leave no budget exceeded and no agent behind",
    "a conversation is made smaller for its model",
    "MCP, outcome OK: texts, else structured content, else what it is",
    "MCP, outcome ERROR: the tool's own words",
    "MCP, outcome REFUSED: no such tool, arguments that it does not take",
    "MCP, outcome NOT_RUN: the server is away",
    "MCP, outcome UNKNOWN: the connection is lost after the call was sent",
    "MCP, outcome UNKNOWN: no answer in time",
    "MCP, outcome UNKNOWN: the AI worker stopped",
    "MCP: a call is sent once, a safe one again under one key",
    "MCP: a connection is made anew before a call",
    "MCP: the server is told whose a call is",
    "MCP: a cancel reaches the server",
    "MCP: a changed tool ends it before any model call",
    "MCP: a server that is away ends it before any model call",
    "MCP asks: a form is shown, filled in and sent back",
    "MCP asks: a page is shown, never fetched, and its opening confirmed",
    "MCP asks: the server is told of what is declined",
    "MCP asks: an answer that is no object is refused",
    "MCP asks: a server may ask again, so often",
    "MCP asks: what only asks for patience is sent again",
    "MCP asks: nobody answered in time",
    "MCP asks: samples, folders and other addresses are refused in words",
    "MCP asks: a server that was restarted may ask anew",
    "MCP asks: an answer that is lost on its way is UNKNOWN",
    "MCP asks: workers may change while people are waited for",
    "MCP asks: calls of a batch do not wait for others' answers",
    "MCP asks: what stops an execution ends its waiting",
    "MCP asks: an approval with other arguments comes first",
    "MCP asks: continue-as-new carries what a server asks",
    "MCP asks: by version 2025-11-25 declined, and said",
    "MCP asks: an answer that breaks the form's schema is refused",
    "MCP asks: kills before and after the answer double no effect",
    "MCP asks: agents below another one ask at the root",
    "MCP tasks: a task is followed to its result",
    "MCP tasks: a task asks people too",
    "MCP tasks: nobody answers a task, which is cancelled then",
    "MCP tasks: one that takes too long is cancelled, and UNKNOWN",
    "MCP tasks: one that does not take its answers is cancelled, and UNKNOWN",
    "MCP tasks: a cancel reaches the server",
    "MCP tasks: one that its server has forgotten is UNKNOWN",
    "MCP tasks: continue-as-new carries a task",
    "old steps of a conversation are summarised for its model",
    "an agent that is a workflow: its result is checked, its failure told",
    "an agent that is a workflow: a report counts once, and a limit ends it",
    "an agent that is a workflow: people answer what it asks",
    "an agent that is a workflow: a cancel and the deadline reach it",
)


class ToolsContractTable(ContractTable):
    """Collects the results of tests marked `tools_contract(row)`: a line a row."""

    name = "tools-contract"
    title = "contract of tools"
    marker = "tools_contract"

    @override
    def complaint(self, item: pytest.Item, mark: pytest.Mark) -> str:
        if len(mark.args) == 1 and mark.args[0] in ROWS:
            return ""
        return f"no row {mark.args}; see tests/stack/tools_contract.py"

    @classmethod
    @override
    def known_rows(cls) -> list[tuple[str, str]]:
        return [(row, "") for row in ROWS]
