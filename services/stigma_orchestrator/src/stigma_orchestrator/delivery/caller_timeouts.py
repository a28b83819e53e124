"""How long a caller is given that cannot be looked up."""

from __future__ import annotations

from datetime import timedelta

from stigma.agent.v1.agent_execution_pb2 import TemporalCaller

UNKNOWN = timedelta(minutes=5)
"""Stands for the heartbeat timeout of an activity that neither declares nor shows one."""


def patience(caller: TemporalCaller) -> timedelta:
    """Return how long an activity may be out of reach where we are not allowed to look it up.

    Its next attempt, if there is one, is expected to bind within this time.
    """
    return caller.heartbeat_timeout.ToTimedelta() or UNKNOWN
