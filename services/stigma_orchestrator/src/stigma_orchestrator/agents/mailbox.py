"""Messages to a running agent, a request to stop, and repeated updates."""

from __future__ import annotations

from temporalio import workflow

from stigma.agent.v1.agent_execution_pb2 import InputResolution
from stigma.agent.v1.agent_execution_service_pb2 import SendAgentMessageResponse
from stigma.contracts import limits
from stigma.contracts.workflows import UpdateRefusal
from stigma.internal.v1.execution_pb2 import AcceptedUpdate, CarriedState, SendMessage
from stigma_orchestrator.agents.refusal import refusal


class Mailbox:
    """Messages that the model has not read yet, and all accepted updates.

    Temporal knows repetitions of an update within one run: the mailbox does over all of them.
    """

    def __init__(self, carried: CarriedState) -> None:
        self._unread = list(carried.sent_messages)
        self._accepted = {each.id: each for each in carried.accepted}
        self._accepted_here = 0
        self.stop_reason: str | None = None
        """Why the agent is to stop after the step under way; None while it is not."""

    @property
    def has_unread(self) -> bool:
        """Whether messages wait for the model."""
        return bool(self._unread)

    @property
    def is_run_full(self) -> bool:
        """Whether the run has accepted so many updates that it should continue as new."""
        return self._accepted_here >= limits.MAX_RUN_UPDATES

    def take_unread(self) -> list[str]:
        """Return the messages for the model's next call, in order."""
        taken, self._unread = self._unread, []
        return taken

    def repeated(self, update_id: str) -> AcceptedUpdate | None:
        """Return the update of this id, if it has been accepted before."""
        return self._accepted.get(update_id)

    def check_message(self) -> None:
        """Check that there is room for a message.

        Raises:
            ApplicationError: of a type of `UpdateRefusal`.
        """
        if len(self._unread) >= limits.MAX_SENT_MESSAGES:
            message = f"{len(self._unread)} messages wait for the model already"
            raise refusal(UpdateRefusal.TOO_MANY_MESSAGES, message)

    def send(self, sent: SendMessage) -> SendAgentMessageResponse:
        """Take a message."""
        self._unread.append(sent.text)
        response = SendAgentMessageResponse()
        response.time.FromDatetime(workflow.now())
        self._accept(AcceptedUpdate(id=sent.update_id, message=response))
        return response

    def answered(self, update_id: str, resolution: InputResolution) -> None:
        """Keep in mind the answer to a pending input."""
        self._accept(AcceptedUpdate(id=update_id, resolution=resolution))

    def carry(self, carried: CarriedState) -> None:
        """Add what the next run has to know."""
        carried.sent_messages.extend(self._unread)
        carried.accepted.extend(list(self._accepted.values())[-limits.MAX_CARRIED_UPDATES :])

    def _accept(self, update: AcceptedUpdate) -> None:
        self._accepted[update.id] = update
        self._accepted_here += 1
