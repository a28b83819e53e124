"""Statistics of samples."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(samples: Sequence[float], which: int) -> float:
    """Return the nearest-rank percentile of at least one sample."""
    ranked = sorted(samples)
    return ranked[max(0, -(-which * len(ranked) // 100) - 1)]
