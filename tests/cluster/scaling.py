"""More pods and fewer: who shares the work, and what Kubernetes scales by."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from tests.cluster.handshakes import Crowd, Tally
from tests.cluster.kubernetes import Namespace
from tests.cluster.reading import reading
from tests.cluster.release import service_name

Record = Callable[[str, object], None]

SCALED_WITHIN = timedelta(minutes=6)
# So many calls a pod has to have a part in before it counts as sharing the work.
SHARE = 20
# What a pod logs when it has a part in a call.
WORK = {
    "stigma-orchestrator": "delivered",
    "ai-worker": "model_call_completed",
    "zigflow-worker": "pending",
}
CALLERS_OF_API = 4
# A handshake costs the API a few milliseconds and Temporal far more: a small node would be busy
# with Temporal before its API is. Readers are the API's own load.
READERS_OF_API = 8


async def parts(namespace: Namespace, worker: str) -> Counter[str]:
    """In how many calls each pod of a worker had a part so far."""
    pods = await namespace.pods(service_name(worker))
    events = await asyncio.gather(*(namespace.events(pod) for pod in pods))
    return Counter({pod: counted[WORK[worker]] for pod, counted in zip(pods, events, strict=True)})


async def shares_of(namespace: Namespace, worker: str, earlier: Counter[str]) -> list[int] | None:
    """How much each pod did since; None as long as one did not do its share."""
    now = await parts(namespace, worker)
    shares = [now[pod] - count for pod, count in earlier.items()]
    return shares if all(share >= SHARE for share in shares) else None


async def soon_scaled_down(namespace: Namespace) -> None:
    """Kubernetes waits for five minutes before it takes pods away: that is its own, not ours."""
    patch = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 15}}}}
    await namespace.kubectl(
        "patch",
        "horizontalpodautoscaler",
        "stigma-api",
        "--type=merge",
        f"--patch={json.dumps(patch)}",
    )


@asynccontextmanager
async def busy_api(namespace: Namespace, crowd: Crowd) -> AsyncIterator[Tally]:
    """Handshakes, and a load for one pod of the API on top."""
    secret = await namespace.get("secret", "stigma-api-auth")
    key = base64.b64decode(secret["data"]["api-key"]).decode()
    async with (
        namespace.forwarded("stigma-api", 7300) as address,
        reading(address, key, READERS_OF_API),
        crowd.busily(CALLERS_OF_API) as tally,
    ):
        yield tally


async def goes_up_and_down(
    namespace: Namespace,
    service: str,
    load: AbstractAsyncContextManager[Tally],
    record_property: Record,
) -> Tally:
    """One pod becomes three under a load, and one again after it."""
    name = service_name(service)
    await namespace.ready(name, 1)
    began = time.monotonic()
    async with load as tally:
        await namespace.ready(name, 3, SCALED_WITHIN)
    record_property("3 pods after", f"{time.monotonic() - began:.0f} s")
    began = time.monotonic()
    await namespace.ready(name, 1, SCALED_WITHIN)
    record_property("1 pod after", f"{time.monotonic() - began:.0f} s")
    return tally
