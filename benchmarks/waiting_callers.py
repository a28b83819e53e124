"""Cost of waiting: many callers that wait for hours, and the CPU of all processes meanwhile.

    make bench NAME=waiting_callers ARGS="--waits 2000 --seconds 300"

The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.handshake_holding import Holding, measure_holding
from benchmarks.handshake_site import open_site
from stigma_cli.devserver import find_binary

_SCALED_TO = 10_000


async def main(waits: int, seconds: float) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="stigma-bench-") as directory:
        async with open_site(find_binary(), Path(directory)) as site:
            holding = await measure_holding(site, waits, seconds)
    print(holding.describe())
    print(json.dumps(_summary(holding)))


def _summary(holding: Holding) -> dict[str, float | int]:
    """Return cores: of no wait, of 10,000 without that, of both, and by group of processes.

    `cores_of_all_scaled` also scales what is used while nobody waits, as if each wait needed it.
    """
    idle = _cores(holding, holding.idle_cpu_seconds)
    used = _cores(holding, holding.cpu_seconds)
    scale = _SCALED_TO / holding.waits
    waits = {name: scale * (cores - idle[name]) for name, cores in used.items()}
    return {
        "waits": holding.waits,
        "slots_held": holding.slots_held,
        "cores_idle": round(sum(idle.values()), 3),
        "cores_of_10000_waits_alone": round(sum(waits.values()), 3),
        "cores_of_10000_waits": round(sum(idle.values()) + sum(waits.values()), 3),
        "cores_of_all_scaled": round(scale * sum(used.values()), 3),
        **{f"cores_{name}": round(cores, 3) for name, cores in waits.items()},
        **{f"cores_idle_{name}": round(cores, 4) for name, cores in idle.items()},
    }


def _cores(holding: Holding, cpu_seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: used / holding.observed_seconds for name, used in cpu_seconds.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to observe them")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.waits, arguments.seconds))
