"""The activity that checks whether a model's price is known, before an agent is started."""

from __future__ import annotations

from temporalio import activity
from typing_extensions import override

from ai_worker.calls.failures import CallError
from ai_worker.models.caller import ModelCaller
from stigma.contracts.activities import CHECK_MODEL_PRICE, PriceActivities
from stigma.internal.v1.execution_pb2 import CheckModelPriceRequest, CheckModelPriceResponse


class ModelPrices(PriceActivities):
    """Answers from the providers' files and the price list of this release."""

    def __init__(self, caller: ModelCaller) -> None:
        self._caller = caller

    @override
    @activity.defn(name=CHECK_MODEL_PRICE)
    async def check_model_price(self, request: CheckModelPriceRequest) -> CheckModelPriceResponse:
        try:
            return CheckModelPriceResponse(unpriced=not self._caller.knows_price(request.model))
        except CallError:
            # There is no such model: its first call says so, as without a cost limit.
            return CheckModelPriceResponse()
