"""Figures for Prometheus: one prefix, base units, no session ids."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streaming.pacing import TICK_S

_LATENESS_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._ticks = Counter("koubo_ticks", "Ticks handed to viewers.", registry=self._registry)
        self._late = Counter(
            "koubo_late_ticks", "Ticks that came after the next was due.", registry=self._registry
        )
        self._lateness = Histogram(
            "koubo_tick_lateness_seconds",
            "Time from when a tick was due to when it was handed over.",
            buckets=_LATENESS_BUCKETS,
            registry=self._registry,
        )
        self._sessions = Gauge("koubo_sessions", "Open sessions.", registry=self._registry)
        self._viewers = Gauge("koubo_viewers", "Connected viewers.", registry=self._registry)

    def watch(self, sessions: Callable[[], float], viewers: Callable[[], float]) -> None:
        """Ask these for the current counts whenever the figures are read."""
        self._sessions.set_function(sessions)
        self._viewers.set_function(viewers)

    def tick(self, lateness_s: float) -> None:
        """Count one tick."""
        self._ticks.inc()
        self._lateness.observe(lateness_s)
        if lateness_s > TICK_S:
            self._late.inc()

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self._registry)
