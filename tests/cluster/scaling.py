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
from tests.cluster.program import until
from tests.cluster.reading import reading
from tests.cluster.release import service_name

Record = Callable[[str, object], None]

SCALED_WITHIN = timedelta(minutes=6)
# So many calls a pod has to have a part in before it counts as sharing the work.
SHARE = 20
# What a pod logs when it has a part in a call.
WORK = {
    "stigma-api": "request_received",
    "stigma-orchestrator": "delivered",
    "ai-worker": "model_call_completed",
    "zigflow-worker": "pending",
}
CALLERS_OF_API = 4
# A handshake costs the API a few milliseconds and Temporal far more: a small node would be busy
# with Temporal before its API is. Readers are the API's own load.
READERS_OF_API = 8


async def parts(namespace: Namespace, service: str) -> Counter[str]:
    """In how many calls each pod of a service had a part so far."""
    pods = await namespace.pods(service_name(service))
    events = await asyncio.gather(*(namespace.events(pod) for pod in pods))
    return Counter({pod: counted[WORK[service]] for pod, counted in zip(pods, events, strict=True)})


async def shared(namespace: Namespace, service: str, pods: int, earlier: Counter[str]) -> list[int]:
    """Return how much each of so many pods did since, once every one did its share."""

    async def shares() -> list[int] | None:
        now = await parts(namespace, service)
        done = [count - earlier[pod] for pod, count in now.items()]
        return done if len(done) == pods and min(done) >= SHARE else None

    return await until(shares, within=SCALED_WITHIN, what=f"work for {pods} pods of {service}")


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
    """One pod becomes three under a load, which they share, and one again after it."""
    name = service_name(service)
    await namespace.ready(name, 1)
    began = time.monotonic()
    async with load as tally:
        await namespace.ready(name, 3, SCALED_WITHIN)
        record_property("3 pods after", f"{time.monotonic() - began:.0f} s")
        shares = await shared(namespace, service, 3, await parts(namespace, service))
        record_property("all at work after", f"{time.monotonic() - began:.0f} s")
    record_property("shares", " ".join(map(str, shares)))
    began = time.monotonic()
    await namespace.ready(name, 1, SCALED_WITHIN)
    record_property("1 pod after", f"{time.monotonic() - began:.0f} s")
    return tally
