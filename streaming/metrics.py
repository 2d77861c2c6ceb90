"""Figures for Prometheus: one prefix, base units, no session ids.

Every method may be called from any thread and takes microseconds. Label values come from the code (a codec,
the kind of an outlet), never from a request, so that the number of series stays small.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from engine.mouth.batches import LADDER
from streaming.pacing import TICK_S

_LATENESS_BUCKETS = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08, 0.1, 0.2, 0.5, 1.0,
)  # fmt: skip
_WORK_BUCKETS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.25)
"""For work that must fit into a tick of 40 ms."""

_VOICE_BUCKETS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)

CODECS = ("h264", "vp8")
WORK = ("begin", "mouth", "paste", "encode")
INTERRUPT_CAUSES = ("request", "visitor", "agent")

Counts = Mapping[str, int]
"""A count for each value of one label."""

OutletCounts = Mapping[tuple[str, str], int]
"""A count for each (kind, state) of outlets."""

# Without this, each counter and histogram also tells when it was made: a third more lines, of use to nobody.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(namespace="koubo", registry=self._registry)
        build = self._gauge("koubo_build_info", "The version that runs; always 1.", ("version",))
        build.labels(_version()).set(1)
        self._sessions = self._gauge("koubo_sessions", "Open sessions.")
        self._viewers = self._gauge("koubo_viewers", "Connected viewers.")
        self._draining = self._gauge("koubo_draining", "1 while the server waits for its sessions to end.")
        self._ticks = self._counter("koubo_ticks", "Ticks handed to viewers.")
        self._late = self._counter("koubo_late_ticks", "Ticks that came after the next was due.")
        self._skipped = self._counter("koubo_skipped_ticks", "Ticks left out after a long stall.")
        self._lateness = self._histogram(
            "koubo_tick_lateness_seconds",
            "Time from when a tick was due to when it was handed over.",
            _LATENESS_BUCKETS,
        )
        self._pictures = self._histogram(
            "koubo_picture_lateness_seconds",
            "Time from when a tick was due to when its picture was encoded.",
            _LATENESS_BUCKETS,
        )
        self._repeated = self._counter(
            "koubo_mouths_repeated", "Ticks that went out with the mouth before, theirs being late."
        )
        self._work = self._counter(
            "koubo_work_seconds", "Processor time of the threads that draw and encode.", ("kind",)
        )
        self._batch = self._histogram(
            "koubo_mouth_batch", "Faces that were drawn in one call.", tuple(map(float, LADDER))
        )
        self._mouth = self._histogram(
            "koubo_mouth_seconds", "Time the mouth took to draw one picture.", _WORK_BUCKETS
        )
        self._encode = self._histogram(
            "koubo_encode_seconds", "Time to encode one picture.", _WORK_BUCKETS, ("codec",)
        )
        self._unencoded = self._counter(
            "koubo_unencoded_pictures", "Pictures left out because the encoder was behind.", ("codec",)
        )
        self._reconnects = self._counter(
            "koubo_outlet_reconnects", "Connections of outlets made again after a fault.", ("kind",)
        )
        self._sent = self._counter("koubo_outlet_sent_bytes", "Bytes that outlets sent or wrote.", ("kind",))
        self._texts = self._counter("koubo_texts", "Texts taken for speaking.")
        self._voice_failures = self._counter(
            "koubo_voice_failures", "Texts, or pieces of one, that a voice did not speak.", ("voice",)
        )
        self._first_sound = self._histogram(
            "koubo_voice_first_sound_seconds",
            "Time from asking a voice to its first sound.",
            _VOICE_BUCKETS,
            ("voice",),
        )
        self._interrupts = self._counter("koubo_interrupts", "Interrupts of a presenter.", ("cause",))
        self._rejected = self._counter("koubo_rejected_requests", "Requests refused.", ("reason",))
        self._watched = _Watched()
        self._registry.register(self._watched)
        # Series that exist from the start can be added up and alerted on before anything happened.
        for codec in CODECS:
            self._encode.labels(codec)
            self._unencoded.labels(codec)
        for kind in WORK:
            self._work.labels(kind)
        for cause in INTERRUPT_CAUSES:
            self._interrupts.labels(cause)

    def watch(
        self,
        sessions: Callable[[], float],
        viewers: Callable[[], float],
        encoders: Callable[[], Counts] = dict,
        outlets: Callable[[], OutletCounts] = dict,
    ) -> None:
        """Ask these for the current counts whenever the figures are read.

        `encoders` counts those open by codec, `outlets` those there are by (kind, state).
        """
        self._sessions.set_function(sessions)
        self._viewers.set_function(viewers)
        self._watched.encoders = encoders
        self._watched.outlets = outlets

    def watch_drain(self, draining: Callable[[], bool]) -> None:
        """Ask this, whenever the figures are read, whether the server waits for its sessions to end."""
        self._draining.set_function(lambda: float(draining()))

    def tick(self, lateness_s: float, *, mouth_repeated: bool = False) -> None:
        """Count one tick."""
        self._ticks.inc()
        self._repeated.inc(mouth_repeated)
        self._lateness.observe(lateness_s)
        if lateness_s > TICK_S:
            self._late.inc()

    def picture(self, lateness_s: float) -> None:
        """Count a picture that was encoded so long after its tick was due."""
        self._pictures.observe(lateness_s)

    def work(self, kind: str, seconds: float) -> None:
        """Count processor time of a kind of work: "begin", "mouth", "paste" or "encode"."""
        self._work.labels(kind).inc(seconds)

    def mouth_batch(self, faces: int) -> None:
        """Count a call that drew so many faces."""
        self._batch.observe(faces)

    def skipped(self, ticks: int) -> None:
        """Count ticks that were left out after a stall."""
        self._skipped.inc(ticks)

    def mouth(self, seconds: float) -> None:
        """Count a picture that the mouth drew."""
        self._mouth.observe(seconds)

    def encode(self, codec: str, seconds: float) -> None:
        """Count a picture encoded, "h264" or "vp8"."""
        self._encode.labels(codec).observe(seconds)

    def not_encoded(self, codec: str, pictures: int = 1) -> None:
        """Count pictures left out before encoding because the encoder was behind."""
        self._unencoded.labels(codec).inc(pictures)

    def outlet_reconnected(self, kind: str) -> None:
        """Count an outlet ("whip", "rtmp", ...) that stands again after a fault."""
        self._reconnects.labels(kind).inc()

    def outlet_sent(self, kind: str, size: int) -> None:
        """Count bytes that an outlet sent or wrote."""
        self._sent.labels(kind).inc(size)

    def text_taken(self) -> None:
        """Count a text taken for speaking."""
        self._texts.inc()

    def voice_failed(self, voice: str) -> None:
        """Count a piece of text that a kind of voice ("espeak", "openai", ...) did not speak."""
        self._voice_failures.labels(voice).inc()

    def first_sound(self, voice: str, seconds: float) -> None:
        """Count a text by the time until a kind of voice gave its first sound."""
        self._first_sound.labels(voice).observe(seconds)

    def interrupted(self, cause: str = "request") -> None:
        """Count an interrupt by a "request", a "visitor" who speaks, or an "agent"."""
        self._interrupts.labels(cause).inc()

    def rejected(self, reason: str) -> None:
        """Count a refused request by a short name of why, such as "busy" or "not_found"."""
        self._rejected.labels(reason).inc()

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, meaning: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, meaning, labels, registry=self._registry)

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, meaning, labels, registry=self._registry)

    def _histogram(
        self, name: str, meaning: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self._registry)


class _Watched(Collector):
    """Counts with labels that are asked for when the figures are read."""

    def __init__(self) -> None:
        self.encoders: Callable[[], Counts] = dict
        self.outlets: Callable[[], OutletCounts] = dict

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The counts of now."""
        encoders = GaugeMetricFamily("koubo_encoders", "Open picture encoders.", labels=("codec",))
        for codec, count in {**dict.fromkeys(CODECS, 0), **self.encoders()}.items():
            encoders.add_metric((codec,), count)
        outlets = GaugeMetricFamily("koubo_outlets", "Outlets by state.", labels=("kind", "state"))
        for labels, count in sorted(self.outlets().items()):
            outlets.add_metric(labels, count)
        return (encoders, outlets)


def _version() -> str:
    try:
        return version("koubo")
    except PackageNotFoundError:
        return "unknown"
