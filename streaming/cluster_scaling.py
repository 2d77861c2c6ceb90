"""How many replicas a cluster needs, and the policy with which Ray Serve's autoscaler asks for it.

Ray hands this module to its controller by value: it must not need anything of Koubo.
"""

import math
from typing import Any

SESSIONS = "koubo_sessions"
WAITING = "koubo_waiting"
"""What each replica reports: its sessions, and the new ones that wait for room anywhere in the cluster."""


def replicas_needed(sessions: float, waiting: float, places: int, fill: float) -> int:
    """Replicas of so many places each, of which the share `fill` should be taken; 1 at least."""
    return max(1, math.ceil((sessions + waiting) / (places * fill) - 1e-9))


class SessionsPolicy:
    """A custom policy of Ray Serve: replicas by sessions. Delays and bounds are applied by Serve."""

    def __init__(self, places: int, fill: float) -> None:
        self._places = places
        self._fill = fill

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas for what they reported last."""
        told = context.raw_metrics
        sessions = sum(_last(series) for series in told.get(SESSIONS, {}).values())
        waiting = max((_last(series) for series in told.get(WAITING, {}).values()), default=0.0)
        return replicas_needed(sessions, waiting, self._places, self._fill), {}


def _last(series: Any) -> float:
    return float(series[-1].value) if series else 0.0
