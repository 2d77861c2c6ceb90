"""Figures of a server on which everything has happened."""

from streaming.metrics import Metrics


def busy_metrics() -> Metrics:
    """Figures after a little of everything, so that every series is there."""
    metrics = Metrics()
    metrics.watch(
        lambda: 2, lambda: 3, lambda: {"h264": 1}, lambda: {("rtmp", "live"): 1, ("whip", "waiting"): 2}
    )
    metrics.watch_drain(lambda: True)
    metrics.tick(0.003)
    metrics.tick(0.055)
    metrics.skipped(7)
    metrics.mouth(0.0055)
    metrics.encode("h264", 0.004)
    metrics.encode("vp8", 0.003)
    metrics.not_encoded("h264")
    metrics.outlet_reconnected("rtmp")
    metrics.outlet_sent("rtmp", 1500)
    metrics.outlet_sent("mp4", 500)
    metrics.text_taken()
    metrics.voice_failed("openai")
    metrics.first_sound("espeak", 0.04)
    metrics.interrupted()
    metrics.interrupted("visitor")
    metrics.rejected("busy")
    return metrics
