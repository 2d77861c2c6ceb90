"""The figures as a scraper reads them: values, names, labels."""

import re
import shutil
import subprocess
import threading

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from streaming.metrics import CODECS, INTERRUPT_CAUSES, Metrics
from tests.streaming.figures import busy_metrics

BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_total", "_info", "_fds")
"""How names end that carry a unit or a kind; other gauges are plain counts."""

COUNTS = {
    "koubo_mouth_batch",
    "koubo_sessions",
    "koubo_viewers",
    "koubo_draining",
    "koubo_encoders",
    "koubo_outlets",
}

FOREIGN_UNITS = re.compile(
    r"_(ms|millis|milliseconds|us|ns|minutes|hours|kb|mb|kib|mib|kilobytes|megabytes|kbps|percent)(_|$)"
)


@pytest.fixture
def used() -> Metrics:
    return busy_metrics()


def families(metrics: Metrics) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """One sample; there must be exactly one of that name and those labels."""
    found = [
        sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) == 1, f"{name}{labels}: {found}"
    return float(found[0])


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("koubo_sessions", {}, 2),
        ("koubo_viewers", {}, 3),
        ("koubo_draining", {}, 1),
        ("koubo_ticks_total", {}, 2),
        ("koubo_late_ticks_total", {}, 1),
        ("koubo_skipped_ticks_total", {}, 7),
        ("koubo_tick_lateness_seconds_count", {}, 2),
        ("koubo_tick_lateness_seconds_sum", {}, 0.058),
        ("koubo_tick_lateness_seconds_bucket", {"le": "0.04"}, 1),
        ("koubo_mouth_seconds_count", {}, 1),
        ("koubo_mouth_seconds_bucket", {"le": "0.004"}, 0),
        ("koubo_mouth_seconds_bucket", {"le": "0.006"}, 1),
        ("koubo_encode_seconds_count", {"codec": "h264"}, 1),
        ("koubo_encode_seconds_sum", {"codec": "vp8"}, 0.003),
        ("koubo_unencoded_pictures_total", {"codec": "h264"}, 1),
        ("koubo_unencoded_pictures_total", {"codec": "vp8"}, 0),
        ("koubo_encoders", {"codec": "h264"}, 1),
        ("koubo_encoders", {"codec": "vp8"}, 0),
        ("koubo_outlets", {"kind": "rtmp", "state": "live"}, 1),
        ("koubo_outlets", {"kind": "whip", "state": "waiting"}, 2),
        ("koubo_outlet_reconnects_total", {"kind": "rtmp"}, 1),
        ("koubo_outlet_sent_bytes_total", {"kind": "rtmp"}, 1500),
        ("koubo_outlet_sent_bytes_total", {"kind": "mp4"}, 500),
        ("koubo_texts_total", {}, 1),
        ("koubo_voice_failures_total", {"voice": "openai"}, 1),
        ("koubo_voice_first_sound_seconds_count", {"voice": "espeak"}, 1),
        ("koubo_voice_first_sound_seconds_bucket", {"le": "0.025", "voice": "espeak"}, 0),
        ("koubo_voice_first_sound_seconds_bucket", {"le": "0.05", "voice": "espeak"}, 1),
        ("koubo_interrupts_total", {"cause": "request"}, 1),
        ("koubo_interrupts_total", {"cause": "visitor"}, 1),
        ("koubo_interrupts_total", {"cause": "agent"}, 0),
        ("koubo_rejected_requests_total", {"reason": "busy"}, 1),
    ],
)
def test_what_happened_is_read_back(
    used: Metrics, name: str, labels: dict[str, str], expected: float
) -> None:
    assert value(used, name, **labels) == pytest.approx(expected)


def test_the_process_is_measured(used: Metrics) -> None:
    ballast = bytearray(40 * 2**20)
    assert value(used, "koubo_process_resident_memory_bytes") > len(ballast)
    assert value(used, "koubo_process_cpu_seconds_total") > 0.05
    with open("/dev/null"):  # noqa: PTH123 -- a descriptor is what is wanted
        more = value(used, "koubo_process_open_fds")
    assert value(used, "koubo_process_open_fds") == more - 1
    assert value(used, "koubo_process_max_fds") > more


def test_series_are_there_before_anything_happens() -> None:
    """A rate over a series that appears with its first event misses that event."""
    fresh = Metrics()
    for codec in CODECS:
        assert value(fresh, "koubo_encode_seconds_count", codec=codec) == 0
        assert value(fresh, "koubo_unencoded_pictures_total", codec=codec) == 0
        assert value(fresh, "koubo_encoders", codec=codec) == 0
    for cause in INTERRUPT_CAUSES:
        assert value(fresh, "koubo_interrupts_total", cause=cause) == 0


def test_names_follow_the_conventions(used: Metrics) -> None:
    for family in families(used).values():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert re.fullmatch(r"koubo_[a-z][a-z0-9_]*", name), name
        assert not FOREIGN_UNITS.search(name), f"{name} is not in base units"
        assert family.documentation.endswith("."), f"{name} is not explained"
        assert "_created" not in name
        if family.type in ("histogram", "gauge") and name not in COUNTS:
            assert name.endswith(BASE_UNITS), f"{name} does not end with its unit"
        if family.type == "histogram":
            assert name.endswith("_seconds") or name in COUNTS


def test_labels_are_few_and_name_no_session(used: Metrics) -> None:
    allowed = {"codec", "kind", "state", "voice", "cause", "reason", "version", "le"}
    for family in families(used).values():
        for sample in family.samples:
            assert set(sample.labels) <= allowed, sample


def test_promtool_has_nothing_to_complain_about(used: Metrics) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=used.text(), capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_a_count_of_now_is_asked_for_at_each_reading() -> None:
    metrics = Metrics()
    outlets = {("rtmp", "connecting"): 1}
    metrics.watch(lambda: len(outlets), lambda: 0, outlets=lambda: outlets)
    assert value(metrics, "koubo_outlets", kind="rtmp", state="connecting") == 1
    outlets.clear()
    outlets[("rtmp", "live")] = 1
    assert value(metrics, "koubo_outlets", kind="rtmp", state="live") == 1
    assert len(families(metrics)["koubo_outlets"].samples) == 1


def test_two_servers_in_one_process_have_figures_of_their_own() -> None:
    one, other = Metrics(), Metrics()
    one.tick(0.0)
    assert value(one, "koubo_ticks_total") == 1
    assert value(other, "koubo_ticks_total") == 0


def test_nothing_is_lost_when_threads_count_at_once() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(2000):
            metrics.encode("h264", 0.005)
            metrics.outlet_sent("srt", 10)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "koubo_encode_seconds_count", codec="h264") == 8000
    assert value(metrics, "koubo_outlet_sent_bytes_total", kind="srt") == 80_000
