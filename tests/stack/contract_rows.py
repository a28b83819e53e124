"""The rows of the failure contract with their promises, which `make docs` writes down."""

from __future__ import annotations

from dataclasses import dataclass

AGENT, WORKFLOW = "agent", "workflow"
KINDS = (AGENT, WORKFLOW)
"""Kinds of executions, as marks name them."""
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class ContractRow:
    """One row: what happens, what its caller sees of it, and how long after."""

    text: str
    sees: str
    within: str = NOTHING
    containers: bool = False
    """About killing, pausing and cutting off whole services: such a row is proved with processes,
    and again with the images where Docker is."""
    agents_only: str = ""
    """Why it is not about workflow executions, when it is not."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of executions that it is about: each has a test."""
        return (AGENT,) if self.agents_only else KINDS


def kinds_of(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kinds of executions that a mark names after its row: an agent's when none.

    Raises:
        ValueError: there is no such kind.
    """
    if unknown := [kind for kind in arguments if kind not in KINDS]:
        raise ValueError(f"there is no kind {unknown[0]!r} of executions: {', '.join(KINDS)}")
    return tuple(kind for kind in KINDS if kind in arguments) or (AGENT,)


ROWS = (
    ContractRow("agent succeeds", "its output", "one local activity"),
    ContractRow(
        "agent fails, any exception",
        "`AGENT_EXECUTION_FAILED` with reason and step",
        "one activity",
    ),
    ContractRow("agent exceeds its deadline", "`AGENT_EXECUTION_TIMEOUT`", "one activity"),
    ContractRow("agent cancelled through the API", "`AGENT_EXECUTION_CANCELLED`", "one activity"),
    ContractRow(
        "caller cancelled (ours)", "cancelled; the agent too, its model call is cut off", "3 s"
    ),
    ContractRow(
        "caller cancelled, waits for cancellation (foreign)", "cancelled", "its next heartbeat"
    ),
    ContractRow(
        "caller terminated, timed out", f"{NOTHING}; the agent is cancelled", "its next heartbeat"
    ),
    ContractRow(
        "caller activity paused, unpaused, reset; caller reset or continued-as-new",
        "the right result in the right run, of one agent",
    ),
    ContractRow("agent reset; agent continued-as-new", "the right result"),
    ContractRow("cancel or deadline during delivery", "caller and execution agree"),
    ContractRow(
        "token corrupt or of a foreign namespace / already resolved / "
        "outside the principal's workflow prefixes",
        "`INVALID_ARGUMENT` / `FAILED_PRECONDITION` / `PERMISSION_DENIED`; nothing was started",
        "the acknowledgement",
    ),
    ContractRow(
        "request replayed / with another spec",
        "the same execution / `ALREADY_EXISTS`",
        "the acknowledgement",
    ),
    ContractRow(
        "API down",
        "it retries; one agent in the end",
        "the API's return and a back-off",
        containers=True,
    ),
    ContractRow(
        "any service SIGKILLed at any point, delivery included",
        "the right result; one execution, one completion",
        "restart and step timeout",
        containers=True,
    ),
    ContractRow(
        "zigflow_worker SIGKILLed between taking the task and returning pending",
        "the right result",
        "its heartbeat timeout",
        containers=True,
        agents_only="documents call agents",
    ),
    ContractRow(
        "agent workflow terminated / run timeout / stuck on a bad deploy",
        "failed / timed out / waits and recovers",
        "its heartbeat timeout",
    ),
    ContractRow(
        "Temporal down 60 s; AI worker, orchestrator down",
        "the right result",
        "the outage more",
        containers=True,
    ),
    ContractRow("a thousand at once", "each its own result"),
    ContractRow(
        "result or input too large",
        "`AGENT_EXECUTION_FAILED` with size and limit",
        "as a success",
    ),
    ContractRow(
        "foreign caller without heartbeat, with max_attempts = 1",
        "the right result in the normal case; else its own schedule-to-close timeout",
    ),
    ContractRow(
        "caller stubs one release old",
        "the right result",
        agents_only="no release before had them",
    ),
    ContractRow("no token", f"{NOTHING}; the execution ends normally"),
)
