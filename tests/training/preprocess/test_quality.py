"""The gate for files and for pictures."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Crop
from engine.errors import BadMediaError
from engine.picture.clarity import Clarity, clarity
from engine.picture.source import Source, probe
from tests.fakes import paint_face
from tests.training.preprocess.footage import faces, syllables, talking, write_video
from training.preprocess.limits import Limits
from training.preprocess.quality import median_clarity, refuse_pictures, refuse_source

GOOD = Source(640, 480, 25.0, 10.0, 0, hdr=False, sound=True, bits_per_pixel=0.1)
CROP = Crop(104, 130, 130, 0.0)


def test_a_file_tells_its_facts(tmp_path: Path) -> None:
    facts = probe(talking(tmp_path / "说话.mp4"))
    assert (facts.width, facts.height, facts.depth, facts.codec) == (208, 240, 8, "h264")
    assert facts.duration_s == pytest.approx(3.0, abs=0.1)
    assert facts.sound
    assert 0.01 < facts.bits_per_pixel < 20
    size = (tmp_path / "说话.mp4").stat().st_size
    assert facts.bits_per_pixel == pytest.approx(
        size * 8 / (facts.duration_s * facts.fps * 208 * 240), rel=0.01
    )


def test_ten_bits_and_silence_are_seen(tmp_path: Path) -> None:
    facts = probe(write_video(tmp_path / "a.mkv", faces(syllables(10)), None, pix_fmt="yuv420p10le"))
    assert facts.depth == 10
    assert not facts.sound


def test_variable_rate_is_seen(tmp_path: Path) -> None:
    pictures = faces(syllables(30))
    even = probe(write_video(tmp_path / "a.mp4", pictures, None))
    times = np.cumsum(np.random.default_rng(0).choice([0.02, 0.1], 30)).tolist()
    uneven = probe(write_video(tmp_path / "b.mp4", pictures, None, times=times))
    assert not even.variable_rate
    assert uneven.variable_rate


def test_files_that_are_no_video_are_named(tmp_path: Path) -> None:
    (tmp_path / "空.mp4").touch()
    with pytest.raises(BadMediaError, match=r"空\.mp4 cannot be read"):
        probe(tmp_path / "空.mp4")
    with pytest.raises(BadMediaError, match="There is no video file"):
        probe(tmp_path / "gone.mp4")


def test_a_file_cut_in_half_is_named(tmp_path: Path) -> None:
    video = talking(tmp_path / "a.mp4")
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(BadMediaError, match=r"a\.mp4 cannot be read"):
        probe(video)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"width": 180}, "low_resolution"),
        ({"height": 144}, "low_resolution"),
        ({"bits_per_pixel": 0.004}, "low_bitrate"),
        ({"bits_per_pixel": 0.0}, None),  # nobody knows
        ({"sound": False}, "no_sound"),
    ],
)
def test_files_are_refused_for_one_reason(change: dict[str, object], reason: str | None) -> None:
    refused = refuse_source(replace(GOOD, **change), Limits())  # type: ignore[arg-type]
    assert (refused and refused[0]) == reason
    if refused and reason != "no_sound":
        assert any(character.isdigit() for character in refused[1])


def test_blur_lowers_sharpness_and_light_is_measured() -> None:
    face = paint_face(208, 240)
    blurred = np.asarray(cv2.GaussianBlur(face, (0, 0), 4), np.uint8)
    dark = np.asarray(face // 6, np.uint8)
    assert clarity(blurred, CROP).sharpness < 0.2 * clarity(face, CROP).sharpness
    assert clarity(dark, CROP).light < 40 < clarity(face, CROP).light
    flat = clarity(np.full_like(face, 128), CROP)
    assert (flat.sharpness, flat.contrast) == (0, 0)


def test_sharpness_does_not_depend_on_the_size_of_the_face() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    small = np.asarray(cv2.resize(noise, (512, 512), interpolation=cv2.INTER_NEAREST), np.uint8)
    large = clarity(small, Crop(256, 256, 512, 0.0)).sharpness
    assert large == pytest.approx(clarity(noise, Crop(64, 64, 128, 0.0)).sharpness, rel=0.1)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Clarity(200, 120, 40), None),
        (Clarity(5, 120, 40), "blurred"),
        (Clarity(200, 20, 40), "exposure"),
        (Clarity(200, 240, 40), "exposure"),
        (Clarity(200, 120, 3), "exposure"),
    ],
)
def test_pictures_are_refused_for_one_reason(seen: Clarity, reason: str | None) -> None:
    refused = refuse_pictures(seen, Limits())
    assert (refused and refused[0]) == reason


def test_one_bad_picture_does_not_decide() -> None:
    sharp = np.array([200, 1, 210, 190, 205], np.float32)
    even = np.full(5, 100, np.float32)
    assert median_clarity(sharp, even, even).sharpness == 200
