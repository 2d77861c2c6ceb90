"""`koubo bench viewers`: figures from text and /proc, and one real run."""

import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

from engine.errors import KouboError
from streaming.bench_viewers import bench_viewers, read_metrics, thread_times
from streaming.drawing import name_thread
from streaming.encoding.base import CODECS, read_codec

LINUX = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc, which Linux has")


def fake_server(folder: Path, port: int, **settings: object) -> list[str]:
    """A server with fake mouths; its settings allow the few viewers of these tests."""
    assert settings == {"max_viewers": 1} or settings == {"max_viewers": 3}
    return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)]


@LINUX
@pytest.mark.slow
def test_three_viewers_cost_one_encode(tmp_path: Path) -> None:
    figures = bench_viewers(3, 3.0, "h264", partial(fake_server, tmp_path))
    assert (figures["viewers"], figures["codec"]) == (3, "h264")
    for part in (figures["one"], figures["all"]):
        assert part["encoders"] == 1
        # Not 75: each picture is encoded once, whoever watches.
        assert 15 <= part["pictures_encoded_per_second"] <= 30
        assert 10 <= part["pictures_per_viewer_per_second"] <= 30
        assert part["kbps_per_viewer"] > 20
        assert part["encode_ms_per_picture"] > 0
        spent = part["cpu_s_per_s"]
        assert spent["total"] == pytest.approx(
            spent["sending"] + spent["encoding"] + spent["drawing"], abs=0.001
        )
        assert 0 < spent["encoding"] < 1
    assert figures["encode_ratio"] > 0
    assert figures["ratio_apart_from_sending"] > 0


@LINUX
def test_time_is_told_by_what_threads_do() -> None:
    stop = threading.Event()

    def burn(name: str) -> None:
        name_thread(name)
        while not stop.is_set():
            sum(range(1000))

    before = thread_times(os.getpid())
    crowd = [threading.Thread(target=burn, args=(name,)) for name in ("encode-h264", "tick_0")]
    for one in crowd:
        one.start()
    time.sleep(0.6)
    after = thread_times(os.getpid())
    stop.set()
    for one in crowd:
        one.join()
    assert after["encoding"] - before["encoding"] >= 0.05
    assert after["drawing"] - before["drawing"] >= 0.05


def test_metrics_are_read_by_codec() -> None:
    registry = CollectorRegistry()
    Gauge("koubo_encoders", "Open.", ("codec",), registry=registry).labels("vp8").set(2)
    Gauge("koubo_sessions", "Open.", registry=registry).set(1)
    Histogram("koubo_encode_seconds", "Time.", ("codec",), registry=registry).labels("h264").observe(0.5)
    assert read_metrics(generate_latest(registry).decode()) == {
        ("koubo_encoders", "vp8"): 2,
        ("koubo_encode_seconds_count", "h264"): 1,
        ("koubo_encode_seconds_sum", "h264"): 0.5,
    }


def test_a_codec_is_read_by_name() -> None:
    assert [read_codec(name) for name in CODECS] == list(CODECS)
    with pytest.raises(KouboError, match=r"^There is no picture codec 'av1'; choose h264 or vp8\.$"):
        read_codec("av1")
