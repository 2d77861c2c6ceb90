import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.crop import Crop
from engine.errors import BadMediaError
from engine.speech.audio import SAMPLES_PER_TICK
from tests.fakes import fake_landmarks, paint_face
from tests.training.footage import LEAD, paint_mouth, syllables, voiced, write, write_talking
from training.clips import (
    CARD,
    MARGIN,
    SCHEMA,
    clip_folders,
    cut,
    decode,
    encode,
    lip_centre,
    padded,
    read_card,
    read_clip,
    read_wave,
    span,
    write_clip,
    write_wave,
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    pictures = [encode(paint_mouth(k / 7)) for k in range(7)]
    samples = voiced(syllables(7 + 2 * LEAD, 1))
    code = [[k / 10] * 12 for k in range(7)]
    folder = write(tmp_path / "clip", pictures, samples, idle=pictures[0], code=code)
    clip = read_clip(folder)
    assert clip.name == "clip"
    assert clip.pictures == pictures
    assert clip.idle == pictures[0]
    assert clip.card.code == code
    assert (clip.card.frames, clip.card.lead, clip.card.margin) == (7, LEAD, MARGIN)
    assert (clip.card.offset, clip.card.confidence) == (None, None)
    np.testing.assert_allclose(clip.samples, samples, atol=2 / 32768)
    assert not list(folder.glob("*.part"))


def test_names_in_any_script_survive(tmp_path: Path) -> None:
    folder = write_talking(tmp_path / "数据" / "李华" / "0001", 6, person="李华")
    assert read_clip(folder).card.person == "李华"
    assert "李华" in (folder / CARD).read_text(encoding="utf-8")
    assert clip_folders([tmp_path / "数据"]) == [folder]


def test_clips_are_found_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b/1", "a/2", "a/1/x"):
        write_talking(tmp_path / name, 5)
    (tmp_path / "a" / "3").mkdir()
    names = [str(folder.relative_to(tmp_path)) for folder in clip_folders([tmp_path])]
    assert names == ["a/1/x", "a/2", "b/1"]


def test_no_clips_says_how_to_make_some(tmp_path: Path) -> None:
    for roots in ([tmp_path], [tmp_path / "gone"]):
        with pytest.raises(BadMediaError, match="koubo dataset prepare"):
            clip_folders(roots)


@pytest.mark.parametrize("pictures", [4, 6])
def test_pictures_that_do_not_fit_the_card_are_not_written(tmp_path: Path, pictures: int) -> None:
    card = read_card(write_talking(tmp_path / "good", 5))
    samples = np.zeros((5 + 2 * LEAD) * SAMPLES_PER_TICK, np.float32)
    with pytest.raises(ValueError, match=f"{pictures} pictures"):
        write_clip(tmp_path / "bad", card, [b""] * pictures, samples)
    with pytest.raises(ValueError, match="samples"):
        write_clip(tmp_path / "bad", card, [b""] * 5, samples[1:])
    with pytest.raises(ValueError, match="lips"):
        write_clip(tmp_path / "bad", dataclasses.replace(card, lips=[]), [b""] * 5, samples)
    assert not (tmp_path / "bad").exists()


def test_the_card_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, samples: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.clips.write_wave", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_talking(tmp_path / "clip", 5)
    assert not (tmp_path / "clip" / CARD).exists()


def spoil(folder: Path, **changes: object) -> None:
    content = json.loads((folder / CARD).read_text())
    content.update(changes)
    (folder / CARD).write_text(json.dumps({k: v for k, v in content.items() if v != "gone"}))


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"schema": SCHEMA + 1}, "another version"),
        ({"schema": "gone"}, "another version"),
        ({"lips": "gone"}, "lacks fields"),
        ({"surprise": 1}, "fields"),
    ],
)
def test_cards_of_other_kinds_are_told(tmp_path: Path, changes: dict[str, object], hint: str) -> None:
    folder = write_talking(tmp_path / "clip", 5)
    spoil(folder, **changes)
    with pytest.raises(BadMediaError, match=hint) as error:
        read_clip(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b'"clip"', b"null"])
def test_damaged_cards_are_told(tmp_path: Path, content: bytes) -> None:
    folder = write_talking(tmp_path / "clip", 5)
    (folder / CARD).write_bytes(content)
    with pytest.raises(BadMediaError, match="koubo dataset prepare"):
        read_card(folder)


@pytest.mark.parametrize("missing", ["000003.jpg", "speech.wav", "idle.jpg"])
def test_an_incomplete_clip_is_told(tmp_path: Path, missing: str) -> None:
    folder = write_talking(tmp_path / "clip", 5, idle=True)
    (folder / missing).unlink()
    with pytest.raises(BadMediaError, match="incomplete") as error:
        read_clip(folder)
    assert missing in str(error.value)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound at all"])
def test_damaged_sound_is_told(tmp_path: Path, content: bytes) -> None:
    folder = write_talking(tmp_path / "clip", 5)
    (folder / "speech.wav").write_bytes(content)
    with pytest.raises(BadMediaError, match="incomplete"):
        read_clip(folder)


@pytest.mark.parametrize("content", [b"", b"no picture", encode(paint_mouth(0))[:40]])
def test_a_damaged_picture_is_told(content: bytes) -> None:
    with pytest.raises(BadMediaError, match="damaged"):
        decode(content)


def test_sound_that_was_cut_short_is_told(tmp_path: Path) -> None:
    folder = write_talking(tmp_path / "clip", 5)
    write_wave(folder / "speech.wav", read_wave(folder / "speech.wav")[:-700])
    with pytest.raises(BadMediaError, match="incomplete"):
        read_clip(folder)


def test_the_padded_crop_holds_the_crop_in_its_middle() -> None:
    crop = Crop(300.0, 200.0, 100.0, 0.3)
    wide = padded(crop)
    assert (wide.cx, wide.cy, wide.angle) == (crop.cx, crop.cy, crop.angle)
    assert wide.size == pytest.approx(100 * MARGIN)


@pytest.mark.parametrize("angle", [0.0, 0.4, -0.7])
def test_the_stored_lips_are_where_the_landmarks_are(angle: float) -> None:
    landmarks = fake_landmarks(320, 384)
    crop = padded(Crop(160.0, 220.0, 180.0, angle))
    x, y = lip_centre(landmarks, crop)
    back = crop.to_crop(landmarks[[61, 291, 0, 17]], 1).mean(axis=0)
    assert (x, y) == pytest.approx(tuple(back), abs=1e-4)
    if angle == 0:
        assert x == pytest.approx(0.5, abs=0.02)
        assert y == pytest.approx(0.5 + (0.61 * 384 - 220) / (180 * MARGIN), abs=0.02)


def test_a_cut_is_square_and_close_to_the_frame() -> None:
    frame = paint_face(320, 384, gape=0.05)
    picture = decode(cut(frame, Crop(160.0, 192.0, 128.0, 0.0), 128))
    assert picture.shape == (128, 128, 3)
    assert np.abs(picture.astype(int) - frame[128:256, 96:224]).mean() < 3


@pytest.mark.parametrize("side", [64, 96, 97])
def test_half_size_is_the_mean_of_four(side: int) -> None:
    encoded = encode(paint_mouth(0.6, side))
    whole, half = decode(encoded).astype(float), decode(encoded, half=True).astype(float)
    even = side // 2 * 2
    mean = whole[:even, :even].reshape(even // 2, 2, even // 2, 2, 3).mean(axis=(1, 3))
    assert half.shape[0] == -(-side // 2)
    assert np.abs(half[: even // 2, : even // 2] - mean).mean() < 2


def test_sound_beyond_both_ends_is_silence() -> None:
    samples = np.arange(1, 3 * SAMPLES_PER_TICK + 1, dtype=np.float32)
    assert np.array_equal(span(samples, 1, 1), samples[SAMPLES_PER_TICK : 2 * SAMPLES_PER_TICK])
    early = span(samples, -2, 3)
    assert not early[: 2 * SAMPLES_PER_TICK].any()
    assert np.array_equal(early[2 * SAMPLES_PER_TICK :], samples[:SAMPLES_PER_TICK])
    late = span(samples, 2, 2)
    assert np.array_equal(late[:SAMPLES_PER_TICK], samples[2 * SAMPLES_PER_TICK :])
    assert not late[SAMPLES_PER_TICK:].any()
    assert not span(samples, 9, 2).any()
    assert not span(samples, -9, 2).any()


def test_waves_keep_sixteen_bits(tmp_path: Path) -> None:
    samples = np.array([-1, -0.5, 0, 1e-4, 0.5, 1], np.float32)
    back = read_wave(write_wave(tmp_path / "new" / "s.wav", samples))
    np.testing.assert_allclose(back, samples, atol=2 / 32768)
