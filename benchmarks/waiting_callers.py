"""Cost of waiting: many callers that wait for hours, and the CPU of all processes meanwhile.

    make bench NAME=waiting_callers ARGS="--waits 2000 --seconds 300"

The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
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
    per_wait = 1 / holding.observed_seconds / holding.waits
    cores = {f"cores_{name}": used * per_wait for name, used in holding.cpu_seconds.items()}
    return {
        "waits": holding.waits,
        "slots_held": holding.slots_held,
        "cores_of_10000_waits": round(_SCALED_TO * sum(cores.values()), 3),
        **{name: round(_SCALED_TO * used, 3) for name, used in cores.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to observe them")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.waits, arguments.seconds))
