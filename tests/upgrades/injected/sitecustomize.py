"""Loaded by Python at the start of a service whose PYTHONPATH has this directory.

Scales down what no setting does: how often a run that only waits looks for another version.
"""

from __future__ import annotations

import os
from datetime import timedelta

LOOK_SECONDS = "UPGRADES_LOOK_SECONDS"

if LOOK_SECONDS in os.environ:
    from stigma.contracts import versions

    versions.VERSION_CHECK_INTERVAL = timedelta(seconds=float(os.environ[LOOK_SECONDS]))
