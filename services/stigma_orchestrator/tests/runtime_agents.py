"""Agents that are workflows of their own, and a foreign worker that runs them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from stigma_client.runtime import Task, Usage, report, request_input


@workflow.defn(name="Own")
class Own:
    """An agent in Python: it does what its input says."""

    @workflow.run
    async def run(self, argument: dict[str, Any]) -> Any:
        task = Task.of(argument)
        what = task.input or {}
        for number, usage in enumerate(what.get("reports", ()), start=1):
            await report(f"step {number}", f"did {number}", Usage(**usage), report_id=f"r{number}")
        for number in what.get("repeated", ()):
            await report("again", report_id=f"r{number}")
        if "ask" in what:
            asked = (
                request_input(
                    question,
                    schema=what.get("schema"),
                    timeout=timedelta(seconds=what.get("wait", 60)),
                )
                for question in what["ask"]
            )
            return await asyncio.gather(*asked)
        match what.get("how"):
            case "fail":
                raise ApplicationError("x" * 10_000, type="Broken", non_retryable=True)
            case "wait":
                await workflow.wait_condition(lambda: False)
            case "large":
                return "x" * what["size"]
            case "bytes":
                return b"1"
            case "argument":
                return argument
        return what.get("value", f"done: {task.message}")


@workflow.defn(name="Plain")
class Plain:
    """An agent that holds no line of ours."""

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}

    @workflow.signal(name="stigma_input_answer")
    def answered(self, answer: dict[str, Any]) -> None:
        """Take an answer."""
        self._answer = answer

    @workflow.run
    async def run(self, argument: dict[str, Any]) -> Any:
        execution = workflow.get_external_workflow_handle(argument["execution_id"])
        for each in argument["input"].get("reports", ()):
            await execution.signal("report", each)
        if request := argument["input"].get("request"):
            await execution.signal("request_input", request)
            await workflow.wait_condition(lambda: bool(self._answer))
        elif argument["input"].get("how") == "wait":
            await workflow.wait_condition(lambda: False)
        return self._answer
