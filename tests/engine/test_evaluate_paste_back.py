"""A speaking presenter against its own untouched pictures."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.package import Avatar
from engine.errors import BadMediaError
from engine.evaluate.paste_back import score_paste
from engine.mouth.runtime import Features
from engine.picture.paste import Paster
from engine.picture.yuv import Frame, planes
from engine.speech.audio import SAMPLE_RATE
from engine.speech.mel import Mel
from tests.fakes import MOUTH, FakeMouth, opening, speech_like, write_sound


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "speech.wav", speech_like(1.2), SAMPLE_RATE)


class SmallMouth(FakeMouth):
    """Opens its lips alone: nothing moves near the border of the mask."""

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        faces = np.stack([face.astype(np.uint8) for (face,) in features])
        for face, mel in zip(faces, mels, strict=True):
            size = round(self.size * 0.13), round(self.size * 0.1 * opening(mel))
            cv2.ellipse(face, (self.size // 2, round(self.size * 0.56)), size, 0, 0, 360, MOUTH, -1)
        return faces


class TintedMouth(SmallMouth):
    """Draws all of the face brighter, but for its upper part, where the paster looks for the light."""

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        faces = super().decode(mels, features)
        faces[:, self.size // 2 :] = np.minimum(faces[:, self.size // 2 :], 225) + 30
        return faces


def test_a_mouth_on_unchanged_skin_leaves_no_seam(avatar: Avatar, speech: Path) -> None:
    told: list[tuple[int, int]] = []
    score, sheet = score_paste(
        avatar, [speech, speech], SmallMouth(), progress=lambda done, of: told.append((done, of))
    )
    assert score.gradient_ratio < 1.1
    assert score.luma_step < 1
    assert score.chroma_step < 0.5
    assert score.sharpness == pytest.approx(1, abs=0.1)
    assert score.flicker > score.flicker_untouched
    assert 30 < score.pictures <= 60
    assert told == [(1, 2), (2, 2)]
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] * 7 == sheet.shape[1] * 5  # five openings, seven views


def test_rows_of_the_sheet_go_from_closed_to_open(avatar: Avatar, speech: Path) -> None:
    _, sheet = score_paste(avatar, [speech], SmallMouth())
    side = sheet.shape[1] // 7
    rows = [sheet[top : top + side] for top in range(0, len(sheet), side)]
    apart = [float(np.abs(row[:, side : 2 * side].astype(int) - row[:, :side]).mean()) for row in rows]
    assert all(wider > 0.99 * narrower for narrower, wider in pairwise(apart))
    assert apart[-1] > 3 * max(apart[0], 0.05)
    assert np.abs(rows[-1][:, 2 * side : 3 * side].astype(int) - 128).max() > 100
    assert np.abs(rows[-1][2:10, 2 * side + 2 : 3 * side - 2].astype(int) - 128).max() <= 8


def test_a_brighter_patch_is_found_by_its_step(avatar: Avatar, speech: Path) -> None:
    clean, _ = score_paste(avatar, [speech], SmallMouth())
    tinted, _ = score_paste(avatar, [speech], TintedMouth())
    assert tinted.luma_step > clean.luma_step + 2


def test_a_blurred_and_a_trembling_skin_are_found(
    avatar: Avatar, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, _ = score_paste(avatar, [speech], SmallMouth())
    paste = Paster.paste
    count = 0

    def spoil(self: Paster, anchor: Frame, *rest: object) -> Frame:
        nonlocal count
        count += 1
        out = paste(self, anchor, *rest)  # type: ignore[arg-type]
        luma = planes(out)[0]
        luma[...] = cv2.GaussianBlur(luma, (0, 0), 2)
        luma += np.uint8(3 * (count % 2))
        return out

    monkeypatch.setattr(Paster, "paste", spoil)
    spoilt, _ = score_paste(avatar, [speech], SmallMouth())
    assert spoilt.sharpness < 0.8 * clean.sharpness
    assert spoilt.flicker_ratio > clean.flicker_ratio + 1


def test_silence_is_refused(avatar: Avatar, tmp_path: Path) -> None:
    quiet = write_sound(tmp_path / "quiet.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    with pytest.raises(BadMediaError, match="Nothing was said"):
        score_paste(avatar, [quiet], SmallMouth())


def test_no_sound_file_is_refused(avatar: Avatar, tmp_path: Path) -> None:
    with pytest.raises(BadMediaError):
        score_paste(avatar, [tmp_path / "nothing.wav"], SmallMouth())
