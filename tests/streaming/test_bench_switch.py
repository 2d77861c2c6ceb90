"""How soon another presenter is seen: the arithmetic, and a run against a real server."""

import sys
from functools import partial
from pathlib import Path

import pytest

from engine.anchor.package import Avatar
from engine.errors import KouboError
from engine.picture.yuv import to_i420
from streaming.bench_switch import PORTRAIT, Faces, Sight, bench_switch, make_portrait
from tests.fakes import FRAME_SIZE, make_avatar, paint_face
from tests.streaming.presenters import add_matte, make_presenter

SIGHT = Sight([1.0, 1.1, 1.2, 1.5, 1.6], ["ada", "ada", "kai", "kai", "ada"])


def test_the_first_picture_of_a_presenter_counts_from_a_moment() -> None:
    assert SIGHT.first("kai", 0.0) == 1.2
    assert SIGHT.first("ada", 1.15) == 1.6
    assert SIGHT.first("kai", 1.55) is None
    assert SIGHT.first("nobody", 0.0) is None


def test_the_longest_gap_counts_from_a_moment() -> None:
    assert SIGHT.longest_gap(0.0) == pytest.approx(0.3)
    assert SIGHT.longest_gap(1.5) == pytest.approx(0.1)
    assert SIGHT.longest_gap(1.6) == 0.0


def test_presenters_are_told_apart_while_they_speak() -> None:
    width, height = FRAME_SIZE
    bright, dark = (to_i420(paint_face(width, height) // divisor) for divisor in (1, 2))
    faces = Faces({"bright": [bright], "dark": [dark]})
    for gape in (0.0, 0.03, 0.06):
        for name, divisor in (("bright", 1), ("dark", 2)):
            assert faces.name(to_i420(paint_face(width, height, gape, seed=7) // divisor)) == name


def test_the_portrait_is_a_whole_package_of_its_own(tmp_path: Path) -> None:
    folder = make_avatar(tmp_path / "source")
    add_matte(folder)
    original = Avatar.load(folder)
    make_portrait(original, tmp_path / "made" / PORTRAIT)
    portrait = Avatar.load(tmp_path / "made" / PORTRAIT)
    width, height = portrait.size
    assert (portrait.name, portrait.frames) == (PORTRAIT, original.frames)
    assert (width, height) == (80, 144)
    assert portrait.mattes
    matte = portrait.mattes[0]
    assert (matte[:, :38].max(), matte[height // 2, -1]) == (0, 255)
    assert portrait.card.crops[0].size < original.card.crops[0].size


def server(folder: Path, port: int) -> list[str]:
    """A server with fake mouths."""
    return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)]


def test_a_real_server_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_avatar(tmp_path, "fake")
    make_presenter(tmp_path, "dark", shade=0.5)
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    report = bench_switch(2, 1, ("fake", "dark"), partial(server, tmp_path))
    assert report["presenters"] == [PORTRAIT, "dark", "fake"]
    assert (report["cold"], report["warm"]) == (2, 2)
    assert report["viewers_lost"] == 0
    for name in ("cold_ms", "warm_ms"):
        # Generous, for a busy machine.
        assert 1 < report[name]["p50"] <= report[name]["p99"] < 5000
    assert report["by_presenter"]["fake"]["cold_ms"]["p50"] == 0
    assert report["by_presenter"]["dark"]["cold_ms"]["p50"] > 0
    assert report["ticks"] > 50
    assert 30 < report["longest_gap_ms"] < 5000


def test_an_unknown_presenter_is_said_before_anything_starts() -> None:
    with pytest.raises(KouboError, match="no avatar 'nobody'"):
        bench_switch(1, 1, ("nobody",))


def test_a_server_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_avatar(tmp_path, "fake")
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    with pytest.raises(KouboError, match="ended with status 3"):
        bench_switch(1, 1, ("fake",), lambda port: [sys.executable, "-c", "raise SystemExit(3)"])
