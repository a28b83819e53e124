"""Room in a run's history for the results of its calls."""

from __future__ import annotations

from temporalio import workflow

from stigma.agent.v1.agent_execution_pb2 import ToolCall
from stigma.agent.v1.agent_pb2 import Tool
from stigma.contracts import limits, tools

# A call's header, ids and events beside its arguments and its result.
_EVENT_BYTES = 4 * 1024
# Bytes that JSON makes of one, at most: six for a control character.
_ESCAPED = 6
# What an MCP server may ask instead of a result: JSON makes two bytes of a quote.
_QUESTIONS_BYTES = 2 * (limits.MAX_MCP_QUESTIONS_BYTES + limits.MAX_MCP_STATE_BYTES)


class HistoryRoom:
    """Lets as many calls run at once as the history has room for, were their results the largest.

    Temporal terminates a run whose history is too large, and nobody is told its outcome. Results
    can arrive while no worker looks, so what is under way is what has to be bounded.
    """

    def __init__(self) -> None:
        self._reserved = 0
        self._sent = 0
        self._size = workflow.info().get_current_history_size()
        """Counted here: what a workflow task is told lacks what came while the last one ran."""
        self.is_full = False
        """Whether there was no room for a call, and no other was under way."""

    async def enter(self, size: int, sent_bytes: int) -> None:
        """Wait for the room that a call takes, or until there is none; see `is_full`.

        Args:
            size: by `room_of`.
            sent_bytes: what goes to an MCP server beside the arguments.
        """
        if not self._admit(size, sent_bytes):
            await workflow.wait_condition(lambda: self._admit(size, sent_bytes))

    def leave(self, size: int, sent_bytes: int, result_bytes: int) -> None:
        """Give back what a call took: its result, of so many bytes, is in the history."""
        self._reserved -= size
        self._sent -= sent_bytes
        self._size += sent_bytes + result_bytes + _EVENT_BYTES

    def _admit(self, size: int, sent_bytes: int) -> bool:
        size_told = workflow.info().get_current_history_size()
        left = limits.MAX_RESULTS_HISTORY_BYTES - max(size_told, self._size)
        fits = self._reserved + size <= left
        if not fits and not self._reserved:
            self.is_full = True
        if self.is_full:
            return True
        # Calls that go on at the same time are commands of one message to Temporal.
        fits = fits and (not self._sent or self._sent + sent_bytes <= limits.MAX_MCP_SENT_BYTES)
        if fits:
            self._reserved += size
            self._sent += sent_bytes
        return fits


def room_of(tool: Tool, call: ToolCall, sent_bytes: int = 0) -> int:
    """Return the bytes of history that a call takes at most.

    Args:
        tool: that it calls.
        call: the call.
        sent_bytes: what goes to an MCP server beside the arguments.
    """
    result = limits.MAX_TEMPORAL_PAYLOAD_BYTES
    if tool.HasField("mcp"):  # the AI worker cuts it
        most = max(_ESCAPED * tools.Policy.of(tool).max_result_bytes, _QUESTIONS_BYTES)
        result = min(result, most)
    return len(call.arguments_json.encode()) + sent_bytes + result + _EVENT_BYTES
