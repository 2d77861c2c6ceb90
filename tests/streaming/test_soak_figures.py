"""Drift and growth are found where they are, and not where they are not."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import KouboError
from streaming.bench_soak_starts import starts_figures
from streaming.bench_stamps import Stamps
from streaming.durations import read_duration
from streaming.process_figures import read_process
from streaming.soak_figures import (
    Slope,
    count_verdict,
    drift_ms,
    drift_verdict,
    memory_verdict,
    slope,
    ticks_of,
)
from streaming.soak_show import sample_period, soak_figures, span_of_recording

HOUR = 3600.0
TIMES = list(np.arange(0, HOUR, 10.0))


def noise(seed: int, size: int = len(TIMES)) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(0, 1, size)


def walk(seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Memory as it is: up by a step, down again, never far."""
    rng = np.random.default_rng(seed)
    level, found = 0.0, []
    for _ in TIMES:
        level = 0.9 * level + rng.normal(0, 1)
        found.append(level)
    return np.array(found)


class TestSlope:
    def test_a_line_is_found_with_its_noise(self) -> None:
        found = slope(TIMES, list(500 + 12 * np.array(TIMES) / HOUR + noise(1)))
        assert found is not None
        assert found.low < 12 < found.high
        assert found.high - found.low < 2
        assert not found.flat

    def test_nothing_is_found_where_nothing_is(self) -> None:
        """Of intervals of 95 %, about 2.5 % lie above nothing; noise that hangs together is no trend."""
        flat = [slope(TIMES, list(500 + walk(seed))) for seed in range(200)]
        wrong = sum(not found.flat for found in flat if found is not None)
        assert wrong <= 20

    def test_two_few_samples_say_nothing(self) -> None:
        assert slope(TIMES[:23], [1.0] * 23) is None
        assert slope([5.0] * 30, list(range(30))) is None

    def test_falling_memory_is_flat(self) -> None:
        found = slope(TIMES, list(500 - np.array(TIMES) / 100 + noise(2)))
        assert found is not None
        assert found.high < 0
        assert memory_verdict("memory", found, 1).met


class TestVerdicts:
    @pytest.mark.parametrize(("ms", "met"), [(0.0, True), (19.0, True), (-19.0, True), (21.0, False)])
    def test_drift_counts_in_ticks(self, ms: float, met: bool) -> None:
        found = drift_ms(TIMES, list(70 + ms * np.array(TIMES) / TIMES[-1]))
        assert found is not None
        assert found.per_hour == pytest.approx(ms, abs=0.01)
        assert drift_verdict("drift", found).met is met

    def test_a_clock_of_100_ppm_is_nine_ticks_in_an_hour(self) -> None:
        found = drift_ms(TIMES, list(1e-4 * 1000 * np.array(TIMES)))
        assert found is not None
        assert ticks_of(found.per_hour) == 9

    def test_an_interval_too_wide_to_tell_is_no_success(self) -> None:
        assert memory_verdict("memory", Slope(0.1, -0.5, 0.7), 1).met
        assert not memory_verdict("memory", Slope(0.1, -50, 50), 1).met
        assert not memory_verdict("memory", Slope(3, 1, 5), 1).met
        assert not memory_verdict("memory", None, 1).met
        # One step of the heap in an hour is no leak; the same each hour for eight is.
        assert memory_verdict("memory", Slope(0.12, 0.06, 0.18), 1).met
        assert not memory_verdict("memory", Slope(0.12, 0.06, 0.18), 8).met
        assert not drift_verdict("drift", None).met

    def test_counts_are_compared_by_their_medians(self) -> None:
        assert count_verdict("threads", [20, 25, 20, 21, 20, 20, 21, 20, 20]).met
        assert not count_verdict("threads", [20, 20, 20, 21, 22, 22, 23, 24, 24]).met
        assert not count_verdict("threads", []).met


def show_lines(seconds: float = HOUR, **changed: Any) -> list[dict[str, Any]]:
    """The lines of a perfect show; `changed` figures are functions of the time."""
    lines: list[dict[str, Any]] = [{"soak": 1, "seconds": seconds}]
    jitter = noise(3, 10_000).tolist()
    for number, at in enumerate(np.arange(10.0, seconds + 1, 10.0).tolist()):
        line: dict[str, Any] = {
            "at": at, "rss_mb": 900 + jitter[number], "own_mb": 700 + jitter[number],
            "pss_mb": 800 + jitter[number], "descriptors": 20, "threads": 30, "cpu_s": at / 2,
            "ticks": round(25 * at), "late_ticks": 3, "lateness_ms": {"p50": 2.0, "p95": 5.0, "p99": 9.0},
            "uptime_s": at + 3, "backlog_ms": 0.0, "skipped": 0.0, "unencoded": 0.0,
            "picture_delay_ms": 5.0, "sound_delay_ms": 2.0, "pictures": round(25 * at),
            "sounds": round(50 * at), "viewers": 1, "recording": "live",
        }  # fmt: skip
        line |= {name: value(at) for name, value in changed.items()}
        lines.append(line)
    lines.append({"event": "join", "at": 30.0, "seconds": 0.2})
    lines.append({"file": "a.mp4", "picture_s": seconds, "sound_s": seconds - 0.02, "pictures": 1.0})
    return lines


def missed(figures: dict[str, Any]) -> list[str]:
    return [verdict["name"] for verdict in figures["verdicts"] if not verdict["met"]]


class TestShow:
    def test_a_perfect_show_meets_everything(self) -> None:
        figures = soak_figures(show_lines())
        assert missed(figures) == []
        assert figures["seconds"] == HOUR
        assert figures["join_ms"]["p50"] == 200
        assert json.loads(json.dumps(figures)) == figures

    @pytest.mark.parametrize(
        ("name", "value", "verdict"),
        [
            ("sound_delay_ms", lambda at: 2 + at / 50, "sound against picture"),
            ("picture_delay_ms", lambda at: 5 + at / 50, "picture against wall clock"),
            ("own_mb", lambda at: 700 + at / 60, "memory of its own"),
            ("descriptors", lambda at: 20 + at // 600, "descriptors"),
            ("threads", lambda at: 20 + at // 600, "threads"),
            ("late_ticks", lambda at: round(at), "late ticks"),
            ("pictures", lambda at: round(24 * at), "pictures that reached the viewer"),
            ("skipped", lambda at: float(at > 1000), "ticks skipped"),
            ("ticks", lambda at: round(24.9 * at), "ticks against 25 a second"),
            ("sound_delay_ms", lambda at: 60.0, "sound from picture, at worst"),
        ],
    )
    def test_each_fault_is_seen(self, name: str, value: Any, verdict: str) -> None:
        assert verdict in missed(soak_figures(show_lines(**{name: value})))

    def test_refusals_and_lost_recordings_are_seen(self) -> None:
        lines = [line for line in show_lines() if "file" not in line]
        lines.append({"event": "join", "at": 9.0, "seconds": 15.0, "fault": "Nothing came."})
        found = missed(soak_figures(lines))
        assert "recording" in found
        assert "requests refused, viewers not served" in found

    def test_a_run_cut_short_still_has_figures(self) -> None:
        figures = soak_figures(show_lines()[:100])
        assert figures["seconds"] == 990
        assert figures["wanted_s"] == HOUR
        assert missed(figures) == ["recording"]

    def test_a_run_without_samples_says_so(self) -> None:
        for lines in ([], show_lines()[:2], show_lines()[1:5]):
            with pytest.raises(KouboError, match="no samples yet"):
                soak_figures(lines)

    def test_short_runs_are_looked_at_more_often(self) -> None:
        assert sample_period(HOUR) == 10
        assert sample_period(180) == 4.5
        assert sample_period(1) == 0.5


def start_lines(rounds: int = 100, **changed: Any) -> list[dict[str, Any]]:
    jitter = noise(4, rounds).tolist()
    return [
        {
            "sessions": 10 * (number + 1), "joined_s": [0.1, 0.2], "rss_mb": 300.0,
            "own_mb": 200 + jitter[number],
            "descriptors": 16, "threads": 30, "tasks": 2, "objects": 1000, "types": {"a.Session": 1},
        }
        | {name: value(number) for name, value in changed.items()}
        for number in range(rounds)
    ]  # fmt: skip


class TestStarts:
    def test_nothing_left_behind_meets_everything(self) -> None:
        assert missed(starts_figures(start_lines())) == []

    @pytest.mark.parametrize(
        ("name", "value", "verdict"),
        [
            ("descriptors", lambda number: 16 + number // 20, "descriptors"),
            ("threads", lambda number: 16 + number // 10, "threads"),
            ("tasks", lambda number: 2 + number // 10, "tasks"),
            ("objects", lambda number: 1000 + 10 * number, "objects"),
            ("own_mb", lambda number: 200 + number, "memory of its own per 1000 starts"),
        ],
    )
    def test_each_leak_is_seen(self, name: str, value: Any, verdict: str) -> None:
        assert missed(starts_figures(start_lines(**{name: value}))) == [verdict]

    def test_what_grew_is_named(self) -> None:
        figures = starts_figures(start_lines(types=lambda number: {"a.Session": number, "a.Other": 5}))
        assert list(figures["grown"]) == ["a.Session"]

    def test_pools_that_fill_at_first_are_no_leak(self) -> None:
        lines = start_lines(
            threads=lambda number: 20 + min(number, 8), own_mb=lambda number: 200 + min(number, 15)
        )
        assert missed(starts_figures(lines)) == []


class Packet:
    """What `Stamps` reads of an RTP packet."""

    def __init__(self, timestamp: int) -> None:
        self.timestamp = timestamp & 0xFFFFFFFF


class TestStamps:
    async def test_the_least_delay_is_that_of_the_clock(self) -> None:
        now = 0.0
        stamps = Stamps(90_000, lambda: now)
        assert stamps.least_delay() is None
        for number, waited in enumerate((0.0, 0.03, 0.01, 0.2)):
            now = 10 + number / 25 + waited
            assert stamps.add(Packet(0xFFFFFF00 + 3600 * number)) == (False, None)  # type: ignore[arg-type]
        assert stamps.count == 4
        assert stamps.media == 3 * 3600  # across the wrap
        assert stamps.longest_step == pytest.approx(0.04)
        assert stamps.least_delay() == pytest.approx(10)
        assert stamps.least_delay() is None

    async def test_packets_of_one_picture_and_late_ones_count_once(self) -> None:
        stamps = Stamps(90_000, lambda: 1.0)
        for stamp in (5000, 5000, 8600, 5000, 8600):
            stamps.add(Packet(stamp))  # type: ignore[arg-type]
        assert stamps.count == 2
        assert stamps.media == 3600


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("3m", 180), ("1h30m", 5400), ("8h", 28_800), (" 0.5H ", 1800)]
)
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "-1h", "8x", "0s", "1m1h"])
def test_what_is_no_length_of_time_is_said(text: str) -> None:
    with pytest.raises(KouboError, match="8h"):
        read_duration(text)


def test_a_process_is_read() -> None:
    import os

    found = read_process(os.getpid())
    assert 1 < found.own_mb < found.rss_mb
    assert found.threads >= 1
    assert found.descriptors >= 3
    assert math.isfinite(found.cpu_s)


def test_the_span_of_a_file_is_where_its_streams_end(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=48_000)
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.width = video.height = 64
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((96, 64), np.uint8), format="yuv420p")
            frame.pts = number if number < 25 else number + 10
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48_000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    found = span_of_recording(path)
    assert found["picture_s"] == pytest.approx(2.4, abs=0.05)
    assert found["sound_s"] == pytest.approx(1.0, abs=0.1)
    assert found["longest_gap_s"] == pytest.approx(0.44, abs=0.02)
    assert found["pictures"] == 50
