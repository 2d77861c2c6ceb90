"""How soon a server is there, and its memory: the arithmetic, and a run against real servers."""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from engine.errors import KouboError
from streaming import bench_start as bench
from streaming.bench_start import Join, Memory, Start, read_memory
from tests.fakes import make_avatar
from tests.streaming.presenters import make_presenter


def server(folder: Path, port: int) -> list[str]:
    """A server with fake mouths."""
    return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)]


def test_figures_are_differences_of_memory_and_percentiles_of_times() -> None:
    found = bench._Found(
        cold=[Start(1.0, 5.0, Join(0.1, 0.2, 0.3))],
        warm=[Start(0.5, ready, Join(0.1, 0.2, 0.4)) for ready in (1.0, 2.0, 3.0)],
        joins=[Join(0.01, 0.02, picture) for picture in (0.05, 0.07, 0.06)],
        memory={
            "1 sessions": Memory(500, 400, 300),
            "2 sessions": Memory(560, 450, 340),
            "3 sessions": Memory(620, 500, 380),
            "another presenter": Memory(900, 800, 450),
        },
    )
    figures = bench._figures(found, 3)
    assert figures["cold"]["ready_ms"]["p50"] == 5000
    assert figures["warm"]["starts"] == 3
    assert figures["warm"]["ready_ms"]["p50"] == 2000
    assert figures["warm"]["first_picture_ms"]["p99"] == 400
    assert (figures["joins"], figures["picture_ms"]["p50"], figures["answer_ms"]["p50"]) == (3, 60, 20)
    assert (figures["session_mb"], figures["presenter_mb"]) == (40, 70)
    assert figures["memory"]["1 sessions"] == {"rss_mb": 500, "pss_mb": 400, "own_mb": 300}


def test_one_session_tells_nothing_of_a_further_one() -> None:
    found = bench._Found(memory={"1 sessions": Memory(500, 400, 300)})
    figures = bench._figures(found, 1)
    assert figures["session_mb"] is None
    assert figures["presenter_mb"] is None


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")
def test_only_what_is_in_no_file_is_a_process_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(32 << 20))
    before = read_memory(os.getpid())
    mapped = np.memmap(tmp_path / "file", mode="r")
    assert int(mapped[::4096].sum()) == 0
    between = read_memory(os.getpid())
    own = np.ones(32 << 20, np.uint8)
    after = read_memory(os.getpid())
    assert between.rss - before.rss > 30
    assert between.own - before.own < 10
    assert after.own - between.own > 30
    assert own.all()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")
def test_real_servers_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_avatar(tmp_path, "fake")
    make_presenter(tmp_path, "dark", shade=0.5)
    monkeypatch.setattr(bench, "_LOOK_S", 0.1)
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    figures = bench.bench_start(1, 1, 2, 2, ("fake", "dark"), partial(server, tmp_path))
    for kind in ("cold", "warm"):
        start = figures[kind]
        assert start["starts"] == 1
        # Generous, for a busy machine.
        assert 0 < start["answers_ms"]["p50"] <= start["ready_ms"]["p50"] < 60_000
        assert 0 < start["first_picture_ms"]["p50"] < 30_000
    assert figures["joins"] == 2
    assert 0 < figures["answer_ms"]["p50"] < figures["picture_ms"]["p50"] < 30_000
    assert list(figures["memory"]) == [
        "no presenter", "ready", "1 sessions", "2 sessions", "another presenter", "all left"
    ]  # fmt: skip
    for sizes in figures["memory"].values():
        assert 20 < sizes["own_mb"] <= sizes["pss_mb"] <= sizes["rss_mb"]


def test_a_server_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_avatar(tmp_path, "fake")
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    with pytest.raises(KouboError, match="ended with status 3"):
        bench.bench_start(1, 1, 1, 1, ("fake",), lambda port: [sys.executable, "-c", "raise SystemExit(3)"])
