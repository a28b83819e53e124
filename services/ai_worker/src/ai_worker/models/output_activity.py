"""The activity that checks the output of an agent that is a workflow of its own."""

from __future__ import annotations

from temporalio import activity
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.models.output import OutputSchema
from stigma.contracts.activities import CHECK_OUTPUT, OutputActivities
from stigma.internal.v1.execution_pb2 import CheckOutputRequest, CheckOutputResponse


class OutputChecks(OutputActivities):
    """Checks outputs as those of models are checked; workflow code cannot."""

    @override
    @activity.defn(name=CHECK_OUTPUT)
    async def check_output(self, request: CheckOutputRequest) -> CheckOutputResponse:
        try:
            checked = OutputSchema(request.schema).check(request.output_json)
        except CallError as error:
            raise error.to_application_error() from None
        return CheckOutputResponse(output_json=checked.json, error=checked.error)
