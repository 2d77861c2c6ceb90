"""Rows of the list: read from cards alone."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from engine.anchor import package
from engine.anchor.card import read_card, write_card
from engine.anchor.package import Avatar
from engine.anchor.summary import ClipSummary, summarise
from engine.errors import AvatarError
from tests.fakes import FRAME_SIZE, FRAMES, SIZE


def test_what_a_row_says(avatar_folder: Path, avatar: Avatar) -> None:
    summary = summarise(avatar_folder)
    assert (summary.name, summary.title) == ("fake", {"en": "Fake", "zh": "假人"})
    assert (summary.size, summary.seconds, summary.mouth_size) == (FRAME_SIZE, FRAMES / 25, SIZE)
    assert summary.clips == (ClipSummary("idle", "idle", "pingpong", FRAMES, FRAMES / 25, 1.0),)
    assert summary.bytes == sum(path.stat().st_size for path in avatar_folder.rglob("*") if path.is_file())
    assert summary.crop == pytest.approx(avatar.card.crops[0].size, abs=0.1)
    assert (summary.matte, summary.model, summary.mouth) == (False, "fake", "mouth")
    assert summary.consent == avatar.card.consent
    assert json.loads(json.dumps(asdict(summary)))["consent"]["shown"] == "rendered"


def test_no_video_is_read(avatar_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "fake")
    (copy / "anchor.mp4").write_bytes(b"")
    assert summarise(copy).seconds == FRAMES / 25


def test_a_shared_mouth_is_not_its_own(avatar_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(avatar_folder, tmp_path / "fake")
    mouth = sum(path.stat().st_size for path in (copy / "mouth").iterdir())
    before = summarise(copy).bytes
    shutil.move(copy / "mouth", tmp_path / "mouths" / "tiny")
    write_card(copy, replace(read_card(copy), mouth="../mouths/tiny"))
    assert summarise(copy).bytes == pytest.approx(before - mouth, abs=20)


def test_where_it_lies(avatar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_PACKAGED", tmp_path / "shipped")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KOUBO_AVATARS", f"{tmp_path / 'a'}:{tmp_path / 'b'}:{tmp_path / 'shipped'}")
    home = tmp_path / "home" / ".local" / "share" / "koubo" / "avatars"
    places = {
        tmp_path / "shipped": "shipped", home: "yours", tmp_path / "a": "KOUBO_AVATARS",
        tmp_path / "b": "KOUBO_AVATARS", tmp_path / "c": "elsewhere",
    }  # fmt: skip
    for place, where in places.items():
        folder = shutil.copytree(avatar_folder, place / "fake")
        assert summarise(folder).where == where
    monkeypatch.chdir(home / "fake")
    assert (summarise(Path()).name, summarise(Path()).where) == ("fake", "yours")


def test_no_avatar(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match="no avatar package"):
        summarise(tmp_path)
