"""How soon a text is spoken and an interrupt obeyed: the arithmetic, and a run against a real server."""

import sys
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.card import ANCHOR, read_card
from engine.errors import KouboError
from engine.picture.video import read_i420
from engine.picture.yuv import to_i420
from streaming import bench_latency as bench_latency_module
from streaming.bench_latency import NAMES, Log, MouthWatch, bench_latency
from tests.fakes import make_avatar, paint_face

LOG = Log(times=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5], levels=[0.0, 0.0, 0.5, 0.9, 0.05, 0.0])


def test_the_first_above_a_level_counts_from_a_moment() -> None:
    assert LOG.first_above(0.1, 0.0) == 1.2
    assert LOG.first_above(0.1, 1.25) == 1.3
    assert LOG.first_above(0.1, 1.35) is None
    assert LOG.first_above(0.9, 0.0) is None
    assert Log().first_above(0.0, 0.0) is None


def test_what_has_settled_stays_so_for_a_while() -> None:
    assert LOG.settled(0.1, 1.0, 0.05) == 1.0
    assert LOG.settled(0.1, 1.15, 0.05) == 1.4
    assert LOG.settled(0.1, 1.15, 0.2) is None  # not yet certain
    assert LOG.settled(1.0, 1.15, 0.2) == 1.2
    assert LOG.settled(-1.0, 0.0, 0.0) is None
    assert LOG.settled(0.1, 2.0, 0.0) is None
    assert Log().settled(1.0, 0.0, 0.0) is None
    # Quiet between two words is no end.
    words = Log([1.0, 2.0, 2.1, 3.0, 4.0, 4.5], [0.9, 0.0, 0.0, 0.9, 0.0, 0.0])
    assert words.settled(0.1, 0.5, 0.4) == 4.0


def test_a_log_can_begin_again() -> None:
    log = Log([1.0], [0.7])
    assert log.highest() == 0.7
    log.clear()
    assert log.highest() == 0.0
    assert log.first_above(0.0, 0.0) is None


def test_only_an_open_mouth_is_unlike_the_anchor(tmp_path: Path) -> None:
    folder = make_avatar(tmp_path)
    card = read_card(folder)
    watch = MouthWatch(card, list(read_i420(folder / ANCHOR)))
    width, height = card.size
    # Another picture of the same closed mouth, with noise of its own.
    closed = watch.unlikeness(to_i420(paint_face(width, height, seed=99)))
    ajar = watch.unlikeness(to_i420(paint_face(width, height, gape=0.02, seed=99)))
    wide = watch.unlikeness(to_i420(paint_face(width, height, gape=0.06, seed=99)))
    assert closed < 2
    assert ajar > 2 * closed
    assert wide > ajar
    # What moves elsewhere is not looked at.
    hat = paint_face(width, height, seed=99)
    hat[: height // 5] = 255
    assert watch.unlikeness(to_i420(hat)) == pytest.approx(closed, abs=0.3)


def test_unlikeness_is_to_the_most_alike_picture(tmp_path: Path) -> None:
    card = read_card(make_avatar(tmp_path))
    width, height = card.size
    frames = [to_i420(paint_face(width, height, gape=gape)) for gape in (0.0, 0.03, 0.06)]
    watch = MouthWatch(card, frames)
    assert [watch.unlikeness(frame) for frame in frames] == [0.0, 0.0, 0.0]
    assert watch.unlikeness(np.zeros_like(frames[0])) > 20


@pytest.mark.parametrize("sessions", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_real_server_is_measured(sessions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_avatar(tmp_path, "fake")
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    monkeypatch.setattr(bench_latency_module, "_SETTLE_S", 0.2)

    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(tmp_path)]

    told: list[int] = []
    trials = 2 - sessions
    report = bench_latency(trials, command, sessions=sessions, tell=told.append)
    assert told == [0, 1][:trials]
    assert (report["trials"], report["sessions"]) == (trials, sessions)
    names = set(NAMES) if sessions else set(NAMES) - {"mic_to_mouth"}
    assert set(report["trials_ms"]) == names
    assert {name for name in report if name.endswith("_ms")} == {f"{name}_ms" for name in names} | {
        "trials_ms"
    }
    for name in names:
        found, each = report[f"{name}_ms"], report["trials_ms"][name]
        assert len(each) == trials or name == "mic_to_mouth"
        # Generous, for a busy machine; a tick lies between each request and what follows from it.
        assert 1 < found["p50"] <= found["p99"] < 3000, name
        assert min(each) - 0.1 <= found["p50"] <= max(each) + 0.1


def test_a_server_that_does_not_start_is_said() -> None:
    with pytest.raises(KouboError, match="ended with status 3"):
        bench_latency(1, lambda port: [sys.executable, "-c", "raise SystemExit(3)"])
