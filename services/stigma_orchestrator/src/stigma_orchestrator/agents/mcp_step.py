"""A call of an MCP server's tool: activities of the AI worker, which holds the connection.

Most calls are one activity. A server may ask people something, or make a task of the call: then the
call goes on with a further activity under the same id, after days too, and on any worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import FailureError
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import ToolResult
from stigma.contracts import limits, payloads, pending_inputs, tool_results, tools
from stigma.contracts.activities import (
    CALL_MCP_TOOL,
    CANCEL_MCP_TASK,
    POLL_MCP_TASK,
    RESUME_MCP_TOOL,
)
from stigma.internal.v1.execution_pb2 import (
    CallMcpToolRequest,
    CallMcpToolResponse,
    CancelMcpTaskRequest,
    OpenMcpCall,
    PollMcpTaskRequest,
    ResumeMcpToolRequest,
)
from stigma_orchestrator.agents.call_header import call_header
from stigma_orchestrator.agents.step import raise_if_stopped
from stigma_orchestrator.agents.tool_step import ToolStep


@dataclass(frozen=True)
class McpStep(ToolStep):
    """One call of an MCP server's tool."""

    opened: OpenMcpCall
    """Where the call stands once its server has answered with something else than a result."""

    @property
    def is_open(self) -> bool:
        """Whether the server has answered, and not with a result."""
        return self._is_asked or self.has_task

    @property
    @override
    def has_task(self) -> bool:
        return self.opened.HasField("task")

    @property
    def _is_asked(self) -> bool:
        return bool(self.opened.asked) or self.opened.HasField("request_state")

    @override
    def begin(self) -> ToolResult | None:
        if self._is_asked and not self.has_task:
            size = payloads.json_size_if_over(limits.MAX_PAYLOAD_BYTES, self._resumed())
            if size:
                return pending_inputs.of_large_response(self.call, size)
        return None

    @override
    async def run(self) -> ToolResult | None:
        """Run the next activity; return None where the call goes on.

        Raises:
            CancelledError: the agent was stopped.
        """
        return await self._part(self._next())

    async def sleep(self) -> None:
        """Wait until the server may be asked again."""
        delay = limits.MCP_RESUME_DELAY
        if self.has_task:
            taken = workflow.now() - self.opened.task_time.ToDatetime(UTC)
            wanted = self.opened.task.poll_interval.ToTimedelta()
            delay = max(wanted, limits.MIN_MCP_POLL_DELAY, taken * limits.MCP_POLL_SHARE)
            delay = min(delay, limits.MAX_MCP_POLL_DELAY, self._left())
        if delay > timedelta():
            await workflow.sleep(delay)

    async def give_up(self, reason: str) -> ToolResult | None:
        """Have the server cancel the task; `reason` is a sentence."""
        return await self._part(self._cancel(reason))

    async def _part(self, activity: Any) -> ToolResult | None:
        self.result_bytes.clear()
        try:
            with call_header(self._header()):
                answer: RawValue | None = await activity
        except FailureError as error:
            raise_if_stopped(error)
            self.opened.ClearField("task")
            return tool_results.of_failure(self.call, self.tool, error)
        payload = None if answer is None else answer.payload
        self.result_bytes.append(0 if payload is None else len(payload.data))
        answered = tool_results.mcp_answer(payload)
        result = tool_results.of_mcp_answer(self.call, answered)
        if result is None:
            self._go_on(answered)
        else:
            self.opened.ClearField("task")
        raise_if_stopped()  # an activity that ends in time hides that
        return result

    def _go_on(self, answered: CallMcpToolResponse) -> None:
        """Note what a server has answered instead of a result."""
        opened, had_task = self.opened, self.has_task
        opened.answered_keys.extend(each.key for each in opened.asked if had_task)
        for name in ("asked", "request_state", "task"):
            opened.ClearField(name)
        if answered.HasField("request_state"):
            opened.request_state = answered.request_state
        if answered.HasField("task"):
            opened.task.CopyFrom(answered.task)
            if not had_task:
                opened.task_time.FromDatetime(workflow.now())
                opened.expire_time.FromDatetime(workflow.now() + self._policy().timeout)
        for question in answered.asked:
            if question.key not in opened.answered_keys:
                opened.questions += 1
                added = opened.asked.add()
                added.CopyFrom(question)
                added.number = opened.questions
        opened.rounds += self._is_asked
        if self._asks_too_often:
            opened.ClearField("asked")

    @property
    def _asks_too_often(self) -> bool:
        """Whether a task asks more often than it may; of other calls, the AI worker says so."""
        return self.has_task and self.opened.rounds > limits.MAX_MCP_ROUNDS

    def _left(self) -> timedelta:
        """Return the time that is left for the task."""
        return self.opened.expire_time.ToDatetime(UTC) - workflow.now()

    def _next(self) -> Any:
        if self._asks_too_often:
            return self._cancel("The task of the call asks for input again and again.")
        if self.has_task:
            if self._left() <= timedelta():
                seconds = self._policy().timeout.total_seconds()
                return self._cancel(f"The task of the call took longer than {seconds:g} s.")
            return self._poll()
        if self._is_asked:
            return self._send(RESUME_MCP_TOOL, self._resumed())
        return self._send(CALL_MCP_TOOL, self._request(with_arguments=True))

    def _send(self, kind: str, request: CallMcpToolRequest | ResumeMcpToolRequest) -> Any:
        policy = self._policy()
        return workflow.execute_activity(
            kind,
            request,
            activity_id=tools.tool_activity_id(self.call.call_id),
            task_queue=self.context.queues.ai,
            result_type=RawValue,
            schedule_to_close_timeout=policy.timeout,
            schedule_to_start_timeout=policy.start_timeout,
            start_to_close_timeout=policy.attempt_timeout,
            heartbeat_timeout=limits.MODEL_CALL_HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=policy.attempts),
        )

    def _poll(self) -> Any:
        request = PollMcpTaskRequest(
            call=self._request(), task_id=self.opened.task.id, answered=self.opened.asked
        )
        left = max(self._left(), limits.MCP_POLL_TIMEOUT)
        return self._ask(POLL_MCP_TASK, request, within=left)

    def _cancel(self, reason: str) -> Any:
        request = CancelMcpTaskRequest(
            call=self._request(), task_id=self.opened.task.id, reason=reason
        )
        return self._ask(CANCEL_MCP_TASK, request, within=limits.MCP_CANCEL_TIMEOUT)

    def _ask(
        self, kind: str, request: PollMcpTaskRequest | CancelMcpTaskRequest, within: timedelta
    ) -> Any:
        """Ask about the task: without effects, so as often as it takes."""
        return workflow.execute_activity(
            kind,
            request,
            activity_id=tools.tool_activity_id(self.call.call_id),
            task_queue=self.context.queues.ai,
            result_type=RawValue,
            schedule_to_close_timeout=within,
            start_to_close_timeout=limits.MCP_POLL_TIMEOUT,
            heartbeat_timeout=limits.MODEL_CALL_HEARTBEAT_TIMEOUT,
            # The cancel of the task has the same id: Temporal takes it once this one has ended.
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(maximum_interval=limits.MCP_POLL_TIMEOUT),
        )

    def _resumed(self) -> ResumeMcpToolRequest:
        opened = self.opened
        request = ResumeMcpToolRequest(
            call=self._request(with_arguments=True), answered=opened.asked
        )
        for question in request.answered:  # the server knows what it has asked
            for name in ("message", "schema", "url"):
                question.ClearField(name)
        if opened.HasField("request_state"):
            request.request_state = opened.request_state
        return request

    def _request(self, *, with_arguments: bool = False) -> CallMcpToolRequest:
        policy = self._policy()
        request = CallMcpToolRequest(
            execution_id=self.context.execution_id,
            call_id=self.call.call_id,
            server=self.tool.mcp.server,
            tool=self.tool.mcp.tools[0],
            max_result_bytes=policy.max_result_bytes,
        )
        # Of an attempt at most half: what is left is for the tool, once the call has been sent.
        wait = min(policy.start_timeout, policy.attempt_timeout / 2)
        if with_arguments:
            request.arguments_json = self._argument_text()
            request.call_json = self._header()
            request.may_ask = self.opened.rounds < limits.MAX_MCP_ROUNDS
            request.may_defer = True
        else:
            wait = limits.MCP_POLL_START_TIMEOUT
        request.start_timeout.FromTimedelta(wait)
        return request
