"""`CheckModelPriceWorkflow`: one check of a model's price, when an agent is started."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from typing_extensions import override

with workflow.unsafe.imports_passed_through():
    from stigma.contracts import workflows
    from stigma.contracts.activities import PriceActivities
    from stigma.contracts.task_queues import TaskQueues
    from stigma.internal.v1.execution_pb2 import CheckModelPriceRequest, CheckModelPriceResponse

# The check itself takes milliseconds; the API bounds the whole.
_ATTEMPT_TIMEOUT = timedelta(seconds=2)


@workflow.defn(name="CheckModelPriceWorkflow")
class CheckModelPriceWorkflow(workflows.CheckModelPriceWorkflow):
    """Hands the check to the AI worker, which has the providers' prices."""

    @override
    @workflow.run
    async def run(self, request: CheckModelPriceRequest) -> CheckModelPriceResponse:
        return await workflow.execute_activity_method(
            PriceActivities.check_model_price,
            request,
            task_queue=TaskQueues.from_orchestrator(workflow.info().task_queue).ai,
            start_to_close_timeout=_ATTEMPT_TIMEOUT,
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=1)),
        )
