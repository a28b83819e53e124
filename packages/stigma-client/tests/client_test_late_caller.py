"""A workflow that first uses the package while it runs."""

from __future__ import annotations

from temporalio import workflow

import stigma_client


@workflow.defn
class LateCaller:
    """Uses what is exported, and calls no agent."""

    @workflow.run
    async def run(self) -> str:
        return stigma_client.run_agent.__name__
