"""Executions that wait for people: the page of the alert."""

from __future__ import annotations

from stigma.agent.v1.agent_execution_service_pb2 import InputApproval
from stigma.contracts.executions import phase_name
from tests.integration.people import asking_agent, pending_inputs, submit
from tests.rehearsals.rehearsal_environment import RehearsalEnvironment

ALERT = "runbooks/nobody-answers.md"


async def test_nobody_answers(rehearsal: RehearsalEnvironment) -> None:
    """One is answered, another one cancelled; `stigma doctor` exits with 0 all the time."""
    site = rehearsal.installation
    echo = {"name": "echo", "agent": {"agent": "echo"}}
    spec = asking_agent({"echo": {"message": "a secret"}}, echo)
    answered, unwanted = [await site.start(spec=spec, message="m") for _ in range(2)]
    [approval] = await pending_inputs(site, answered.id)
    await pending_inputs(site, unwanted.id)
    async with rehearsal.operator(ALERT, "approvals that nobody gives") as operator:
        shown = await operator.sees("look", answered.id, unwanted.id, ": INPUT_REQUIRED, started ")
        assert "waits for the approval of echo (call 1-1), asked " in shown
        assert f"\n  $ stigma execution approve {answered.id}\n" in shown
        await operator.knows(ID=unwanted.id)
        timeline = await operator.follow("timeline")
        assert "waits for the approval of echo (call 1-1)" in timeline
        assert "secret" not in shown + timeline
        # The cures: somebody answers, and what nobody wants is cancelled.
        await submit(site, approval, approve=InputApproval())
        await operator.follow("cancel")
        assert phase_name(await site.ended(answered.id)) == "COMPLETED"
        assert phase_name(await site.ended(unwanted.id)) == "CANCELLED"
        await operator.sees("verify", "none stuck", 'age_bucket="ge_24h"} 0.0')
        operator.cured()
