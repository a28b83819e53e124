"""Refuses to start an agent with a cost limit whose model has no known price.

Only AI workers know the prices: those of the providers' files that they were started with, and
those of the list in their release. So they are asked, through a workflow.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from datetime import timedelta

import structlog
from temporalio.client import Client, WorkflowFailureError

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.contracts import configuration
from stigma.contracts.workflows import CheckModelPriceWorkflow
from stigma.internal.v1.execution_pb2 import CheckModelPriceRequest
from stigma_api import errors
from stigma_api.temporal.calls import temporal_call

# Time for the AI worker's answer: a start does not wait longer for it.
_TIMEOUT = timedelta(seconds=3)
_SLACK = timedelta(seconds=1)
# Seconds for which a price counts as known, and for which AI workers that do not answer are not
# asked again. Of a model without a price nothing is kept: once it has one, the next start passes.
_KNOWN_SECONDS = 300
_NO_ANSWER_SECONDS = 30
_MAX_MODELS = 1000


class ModelPrices:
    """Asks the AI workers for prices of models; one question a model at a time."""

    def __init__(self, client: Client, task_queue: str) -> None:
        """`task_queue`: of the orchestrator."""
        self._client = client
        self._task_queue = task_queue
        self._log = structlog.get_logger()
        self._passes_until: OrderedDict[str, float] = OrderedDict()
        self._checks: dict[str, asyncio.Task[bool]] = {}

    async def check(self, spec: AgentExecutionSpec) -> None:
        """Check that the prices of the models are known, if the agent has a cost limit.

        An agent passes when no AI worker answers within 3 s: starts do not depend on them, and
        they check again before the first call.

        Raises:
            ApiError: FAILED_PRECONDITION, the price is not known; UNAVAILABLE, Temporal is.
        """
        settings = configuration.configure(spec.agent, spec.config)
        # A workflow that is an agent tells itself what it costs.
        if not settings.cost_usd or spec.agent.HasField("runtime"):
            return
        for model in {settings.model, spec.agent.context.summary_model} - {""}:
            await self._check(model)

    async def _check(self, model: str) -> None:
        if configuration.provider(model) == configuration.SCRIPTED_PROVIDER:
            return
        if self._passes_until.get(model, 0) > time.monotonic():
            return
        check = self._checks.get(model)
        if check is None:
            check = self._checks[model] = asyncio.create_task(self._is_unpriced(model))
            check.add_done_callback(lambda _: self._checks.pop(model))
        # A call that gives up does not end the check, for which others wait.
        if await asyncio.shield(check):
            raise errors.failed_precondition(
                "MODEL_UNPRICED",
                f"the agent has a cost limit, and the price of model {model[:100]!r} is not known: "
                "the provider's file can give it",
            )

    async def _is_unpriced(self, model: str) -> bool:
        async with temporal_call(_TIMEOUT + _SLACK):
            try:
                response = await self._client.execute_workflow(
                    CheckModelPriceWorkflow.run,
                    CheckModelPriceRequest(model=model),
                    id=f"check-model-price-{uuid.uuid4().hex}",
                    task_queue=self._task_queue,
                    execution_timeout=_TIMEOUT,
                )
            except WorkflowFailureError as error:
                self._log.warning("model_price_not_checked", error=type(error.cause).__name__)
                self._pass(model, _NO_ANSWER_SECONDS)
                return False
        if not response.unpriced:
            self._pass(model, _KNOWN_SECONDS)
        return response.unpriced

    def _pass(self, model: str, seconds: float) -> None:
        self._passes_until[model] = time.monotonic() + seconds
        self._passes_until.move_to_end(model)
        if len(self._passes_until) > _MAX_MODELS:
            self._passes_until.popitem(last=False)
