"""What a benchmark reads of a server: figures from text and from /proc, percentiles of histograms."""

import os
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

from engine.errors import KouboError
from streaming import bench_load
from streaming.bench_load import (
    PICTURE_LATENESS,
    TICK_LATENESS,
    Load,
    histogram_ms,
    machine_s,
    need_proc,
    read_metrics,
    thread_s,
)
from streaming.metrics import Metrics
from streaming.pacing import TICK_S

LINUX = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc, which Linux has")


def load(metrics: Metrics, total_s: float = 0.0, loop_s: float = 0.0) -> Load:
    return Load(read_metrics(metrics.text().decode()), total_s, loop_s)


def test_samples_of_one_label_at_most_are_read() -> None:
    registry = CollectorRegistry()
    Gauge("koubo_encoders", "Open.", ("codec",), registry=registry).labels("vp8").set(2)
    Gauge("koubo_sessions", "Open.", registry=registry).set(1)
    Gauge("koubo_outlets", "Two labels.", ("kind", "state"), registry=registry).labels("rtmp", "live").set(9)
    Histogram("koubo_tick_seconds", "Time.", registry=registry, buckets=(0.1, 1.0)).observe(0.5)
    found = read_metrics(generate_latest(registry).decode())
    assert found["koubo_encoders", "vp8"] == 2
    assert found["koubo_sessions", ""] == 1
    assert found["koubo_tick_seconds_bucket", "0.1"] == 0
    assert found["koubo_tick_seconds_bucket", "+Inf"] == 1
    assert not any(name == "koubo_outlets" for name, _ in found)


@pytest.mark.parametrize("name", [TICK_LATENESS, PICTURE_LATENESS, "koubo_mouths_repeated_total"])
def test_what_is_read_is_what_a_server_tells(name: str) -> None:
    names = {key for key, _ in load(Metrics()).metrics}
    assert name in names or f"{name}_bucket" in names


def test_the_edge_of_late_is_the_edge_of_a_bucket() -> None:
    assert (f"{TICK_LATENESS}_bucket", str(TICK_S)) in load(Metrics()).metrics
    assert (f"{PICTURE_LATENESS}_bucket", str(TICK_S)) in load(Metrics()).metrics


def test_only_what_came_between_two_readings_counts() -> None:
    metrics = Metrics()
    for _ in range(50):
        metrics.tick(0.9)
    before = load(metrics)
    for number in range(100):
        metrics.tick(0.003 if number < 98 else 0.045)
    after = load(metrics)
    assert after.since(before, "koubo_ticks_total") == 100
    assert after.late_ratio(before, TICK_LATENESS, TICK_S) == 0.02
    found = after.lateness(before, TICK_LATENESS)
    assert 2 <= found["p50"] <= 5
    assert 2 <= found["p95"] <= 5
    assert 40 <= found["p99"] <= 50
    assert before.late_ratio(before, TICK_LATENESS, TICK_S) == 0.0
    assert before.lateness(before, TICK_LATENESS) == {"p50": 0.0, "p95": 0.0, "p99": 0.0}


def test_percentiles_lie_within_their_buckets() -> None:
    assert histogram_ms({"0.01": 50, "0.02": 100, "+Inf": 100}) == {"p50": 10.0, "p95": 19.0, "p99": 19.8}
    assert histogram_ms({}) == {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    # Above the last edge nobody knows how far.
    assert histogram_ms({"0.5": 0, "1.0": 0, "+Inf": 10})["p99"] == pytest.approx(1990, abs=1)
    # Edges are numbers, not words.
    assert histogram_ms({"0.1": 90, "0.02": 0, "+Inf": 100})["p50"] < 100


def test_the_processor_is_told_apart() -> None:
    metrics = Metrics()
    before = load(metrics, total_s=10.0, loop_s=2.0)
    metrics.work("encode", 1.5)
    metrics.work("paste", 2.0)
    spent = load(metrics, total_s=18.0, loop_s=3.0).cpu(before, 10.0)
    assert spent == {"sending": 0.1, "encoding": 0.15, "drawing": 0.55, "total": 0.8}


@LINUX
def test_a_process_is_told_by_its_threads() -> None:
    before, own, machine = thread_s(os.getpid()), thread_s(os.getpid(), os.getpid()), machine_s()
    until = time.process_time() + 0.3
    while time.process_time() < until:
        sum(range(1000))
    assert thread_s(os.getpid()) - before >= 0.2
    assert thread_s(os.getpid(), os.getpid()) >= own
    assert machine_s() - machine >= 0.2


def test_without_proc_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_load, "Path", lambda *parts: tmp_path / "nothing")
    with pytest.raises(KouboError, match="run this on Linux"):
        need_proc()
