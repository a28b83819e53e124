"""The rows of the failure contract, as the documents have them and in their order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ContractRow:
    """One row: what happens.

    ``containers`` marks what is about killing, pausing and cutting off whole services: those rows
    are proved with processes, and again with the images where Docker is.
    """

    text: str
    containers: bool = False


ROWS = (
    ContractRow("agent succeeds"),
    ContractRow("agent fails, any exception"),
    ContractRow("agent exceeds its deadline"),
    ContractRow("agent cancelled through the API"),
    ContractRow("caller cancelled (ours)"),
    ContractRow("caller cancelled, waits for cancellation (foreign)"),
    ContractRow("caller terminated, timed out"),
    ContractRow("caller activity paused, unpaused, reset; caller reset or continued-as-new"),
    ContractRow("agent reset; agent continued-as-new"),
    ContractRow("cancel or deadline during delivery"),
    ContractRow(
        "token corrupt or of a foreign namespace / already resolved / "
        "outside the principal's workflow prefixes"
    ),
    ContractRow("request replayed / with another spec"),
    ContractRow("API down", containers=True),
    ContractRow("any service SIGKILLed at any point, delivery included", containers=True),
    ContractRow(
        "zigflow_worker SIGKILLed between taking the task and returning pending", containers=True
    ),
    ContractRow("agent workflow terminated / run timeout / stuck on a bad deploy"),
    ContractRow("Temporal down 60 s; AI worker, orchestrator down", containers=True),
    ContractRow("a thousand at once"),
    ContractRow("result or input too large"),
    ContractRow("foreign caller without heartbeat, with max_attempts = 1"),
    ContractRow("caller stubs one release old"),
    ContractRow("no token"),
)
