"""Further clips in an avatar: whole or not at all, beginning and ending where the idle clip is."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.anchor import add_clip as adding
from engine.anchor import create as creating
from engine.anchor.add_clip import Added, add_clip
from engine.anchor.card import ANCHOR, IDLE, MATTE, AvatarCard, Clip, Consent, read_card, write_card
from engine.anchor.crop import Points, crop_from_landmarks, mouth_outline
from engine.anchor.package import Avatar
from engine.anchor.survey import Survey
from engine.errors import AvatarError, KouboError
from tests.films import write
from tests.surveys import SIZE, good_survey, without_face
from tests.tiny_mouth import write_tiny_mouth
from tests.turned_faces import turned_face

COUNT = 75
CLOSED = turned_face((320, 220), 80)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    width, height = SIZE
    picture = np.full((height, width, 3), 70, np.uint8)
    cv2.fillConvexPoly(picture, cv2.convexHull(CLOSED.astype(np.int32)), (205, 160, 140))
    return write(tmp_path / "wave.mp4", [picture] * COUNT)


def package(folder: Path, film: Path, size: tuple[int, int] = SIZE, matte: bool = False) -> Path:
    """An avatar whose idle clip is the same film, 10 pictures."""
    scale = size[0] / SIZE[0]
    write_tiny_mouth(folder / "mouth", 64)
    width, height = size
    write(folder / ANCHOR, [np.full((height, width, 3), 70, np.uint8)] * 10)
    if matte:
        write(folder / MATTE, [np.full((height, width, 3), 255, np.uint8)] * 10)
    points = (CLOSED * scale).astype(np.float32)
    crop = crop_from_landmarks(points)
    outline = tuple(float(value) for value in mouth_outline(points, crop).ravel())
    idle = Clip(IDLE, "idle", ANCHOR, "pingpong", (crop,) * 10, (outline,) * 10, (1.0,) * 10)
    consent = Consent("person", "Mei", "I agree.", "2026-01-31")
    box = (0.3, 0.3, 0.7, 0.6)
    card = AvatarCard("mei", {"en": "Mei"}, size, (idle,), 64, box, "mouth", "tiny", "mine", consent, "")
    write_card(folder, card)
    return folder


@pytest.fixture
def avatar(tmp_path: Path, film: Path) -> Path:
    return package(tmp_path / "avatars" / "mei", film)


class Seen:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.survey = waving()
        monkeypatch.setattr(creating, "survey", lambda video, tracker, tell: self.survey)
        monkeypatch.setattr(creating, "open_tracker", lambda name: NoTracker())


class NoTracker:
    def close(self) -> None:
        pass


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


def waving(**changes: Any) -> Survey:
    """Somebody who sits down during the first half second, then leans aside and comes back, and gets up."""
    steps = np.arange(COUNT)
    lean = 40 * np.sin(np.pi * np.clip((steps - 15) / 45, 0, 1))
    up = np.where(steps < 12, 12 - steps, np.where(steps > 64, steps - 64, 0)) * 12.0
    faces: list[Points | None] = [
        CLOSED + np.array([x, -y], np.float32) for x, y in zip(lean, up, strict=True)
    ]
    fields = {"landmarks": faces, "voiced": np.zeros(COUNT, np.bool_), **changes}
    return good_survey(COUNT, **fields)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def add(avatar: Path, film: Path, name: str = "wave", kind: Any = "gesture", **more: Any) -> Added:
    return add_clip(avatar, film, name, kind, **more)


@pytest.mark.parametrize("kind", ["gesture", "greeting"])
def test_a_gesture_begins_and_ends_where_the_idle_clip_is(
    avatar: Path, film: Path, seen: Seen, kind: str
) -> None:
    told: list[tuple[str, int, int]] = []
    added = add(avatar, film, kind=kind, tell=lambda *step: told.append(step))
    loaded = Avatar.load(avatar)
    clip = loaded.card.clips[1]
    assert (clip.name, clip.kind, clip.file, clip.loop) == ("wave", kind, "clips/wave.mp4", "once")
    assert clip == loaded.card.clips[1]
    assert loaded.frames == 10 + clip.frames
    # Sitting down and getting up are cut off, the lean is kept whole.
    assert 11 / 25 <= added.taken_s[0] <= 17 / 25
    assert 57 / 25 <= added.taken_s[1] <= 67 / 25
    assert np.ptp([crop.cx for crop in clip.crops]) > 35
    idle = loaded.card.idle.crops[0]
    for crop in (clip.crops[0], clip.crops[-1]):
        assert np.hypot(crop.cx - idle.cx, crop.cy - idle.cy) < 0.03 * idle.size
    assert told[-1] == ("write", 1, 1)
    assert [path.name for path in avatar.parent.iterdir()] == ["mei"]


def test_a_posture_to_talk_in_goes_round(avatar: Path, tmp_path: Path, seen: Seen) -> None:
    film = write(tmp_path / "lean.mp4", [np.full((SIZE[1], SIZE[0], 3), 70, np.uint8)] * 120)
    seen.survey = good_survey(120, landmarks=[CLOSED] * 120, voiced=np.zeros(120, np.bool_))
    added = add(avatar, film, "lean", "talking")
    assert added.clip.loop in ("forward", "pingpong")
    assert added.clip.frames >= 100
    assert Avatar.load(avatar).card.clips[1].kind == "talking"


def test_a_clip_of_another_resolution_is_scaled(tmp_path: Path, film: Path, seen: Seen) -> None:
    avatar = package(tmp_path / "large" / "mei", film, (1280, 960))
    added = add(avatar, film)
    loaded = Avatar.load(avatar)
    assert loaded.frame(12).shape == (1440, 1280)
    assert added.clip.crops[0].size == pytest.approx(2 * crop_from_landmarks(CLOSED).size, rel=0.03)


def test_a_mouth_that_moves_is_told(avatar: Path, film: Path, seen: Seen) -> None:
    faces: list[Points | None] = [
        turned_face((320, 220), 80, opening=0.3 + 0.3 * (k % 2)) for k in range(COUNT)
    ]
    seen.survey = waving(landmarks=faces, jaw_open=0.5, voiced=np.ones(COUNT, np.bool_))
    assert "clip-speaks" in [finding.code for finding in add(avatar, film).findings]


def test_an_avatar_with_a_matte_needs_one_for_the_clip(
    tmp_path: Path, film: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KOUBO_SEGMENTER", raising=False)
    avatar = package(tmp_path / "clear" / "mei", film, matte=True)
    before = content(avatar)
    with pytest.raises(AvatarError, match="clear background"):
        add(avatar, film)
    assert content(avatar) == before
    white = write(tmp_path / "white.mp4", [np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)] * COUNT)
    assert add(avatar, film, matte=white).matte
    mattes = Avatar.load(avatar).mattes
    assert mattes is not None
    assert mattes[20].min() > 250


def refused(avatar: Path, film: Path, says: str, **more: Any) -> None:
    before = content(avatar)
    with pytest.raises(KouboError, match=says):
        add(avatar, film, **more)
    assert content(avatar) == before
    assert [path.name for path in avatar.parent.iterdir()] == ["mei"]


def test_names_and_kinds_that_cannot_be(avatar: Path, film: Path, seen: Seen) -> None:
    for name in ("", "Wave", "../up", "a" * 40, "wave.mp4"):
        refused(avatar, film, "cannot name a clip", name=name)
    refused(avatar, film, "one idle clip", kind="idle")
    refused(avatar, film, "has a clip idle already", name="idle")
    add(avatar, film)
    refused(avatar, film, "has a clip wave already")


def test_a_clip_filmed_from_elsewhere_is_refused(avatar: Path, film: Path, seen: Seen) -> None:
    seen.survey = replace(waving(), size=(480, 640))
    refused(avatar, film, "camera held alike")
    aside: list[Points | None] = [turned_face((480, 220), 50)] * COUNT
    seen.survey = waving(landmarks=aside)
    refused(avatar, film, "elsewhere in the clip")


def test_a_clip_without_a_face_or_shorter_than_a_second_is_refused(
    avatar: Path, film: Path, seen: Seen
) -> None:
    seen.survey = without_face(waving(), 0, COUNT)
    refused(avatar, film, "face")
    seen.survey = good_survey(20, landmarks=[CLOSED] * 20, voiced=np.zeros(20, np.bool_))
    refused(avatar, film, "shorter than one second")


def test_an_avatar_of_the_first_schema_takes_no_clips(
    avatar_folder: Path, tmp_path: Path, film: Path
) -> None:
    old = shutil.copytree(avatar_folder, tmp_path / "old" / "mei")
    card = read_card(old)
    write_card(old, replace(card, clips=(replace(card.idle, outlines=()),)))
    refused(old, film, "one mask for all")


def test_a_card_that_cannot_be_written_leaves_the_package(
    avatar: Path, film: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adding, "write_card", full)
    before = content(avatar)
    with pytest.raises(AvatarError, match="No space left"):
        add(avatar, film)
    assert content(avatar) == before
