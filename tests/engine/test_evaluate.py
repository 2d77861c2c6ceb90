"""The measuring of mouths, on painted faces whose truth is known and on a real one."""

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.errors import BadMediaError, NoFaceError
from engine.evaluate import MouthScore, compare, follow_voice
from engine.picture.video import VideoWriter, read_rgb
from engine.picture.yuv import to_i420
from tests.fakes import FakeTracker, paint_face
from tests.films import GAPES, film, write


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("truth") / "truth.mp4", GAPES)


def test_the_truth_itself_scores_best(truth: Path) -> None:
    score = compare(truth, truth, FakeTracker)
    assert score.psnr_mouth == 60
    assert score.ssim_mouth == pytest.approx(1)
    assert score.gmsd_mouth == pytest.approx(0, abs=1e-9)
    assert score.sharpness_ratio == pytest.approx(1)
    assert (score.jaw_r, score.aperture_r, score.pucker_r) == pytest.approx((1, 1, 1))
    assert score.lag_frames == 0


@pytest.mark.parametrize("lag", [-3, -1, 1, 4])
def test_lips_that_come_late_have_a_positive_lag(truth: Path, tmp_path: Path, lag: int) -> None:
    score = compare(film(tmp_path / "late.mp4", np.roll(GAPES, lag)), truth, FakeTracker)
    assert score.lag_frames == lag
    assert score.aperture_r < 0.9


def test_blur_is_less_sharp_and_less_alike(truth: Path, tmp_path: Path) -> None:
    score = compare(film(tmp_path / "blur.mp4", GAPES, blur=2.5), truth, FakeTracker)
    assert score.sharpness_ratio < 0.7
    assert score.ssim_mouth < 0.97
    assert score.gmsd_mouth > 0.02
    assert score.psnr_mouth < 35
    assert score.aperture_r > 0.95


def test_a_still_mouth_correlates_with_nothing(truth: Path, tmp_path: Path) -> None:
    score = compare(film(tmp_path / "still.mp4", np.zeros(60)), truth, FakeTracker)
    assert math.isnan(score.aperture_r)
    assert math.isnan(score.jaw_r)
    assert score.lag_frames == 0
    assert score.as_json()["aperture_r"] is None


def test_other_lips_score_low(truth: Path, tmp_path: Path) -> None:
    other = np.abs(np.random.default_rng(0).normal(0.04, 0.02, 60))
    assert abs(compare(film(tmp_path / "other.mp4", other), truth, FakeTracker).aperture_r) < 0.5


def test_json_has_the_promised_keys() -> None:
    assert list(MouthScore(1.0, 1.0, 0.0, 1.0, 1.0, 1.0, float("nan"), 2).as_json().items()) == [
        ("psnr_mouth", 1.0),
        ("ssim_mouth", 1.0),
        ("gmsd_mouth", 0.0),
        ("sharpness_ratio", 1.0),
        ("jaw_r", 1.0),
        ("aperture_r", 1.0),
        ("pucker_r", None),
        ("lag_frames", 2),
    ]


def test_two_frames_more_or_less_are_forgiven_three_are_not(truth: Path, tmp_path: Path) -> None:
    assert compare(film(tmp_path / "a.mp4", GAPES[:58]), truth, FakeTracker).aperture_r > 0.99
    with pytest.raises(BadMediaError, match="differ by 3 frames"):
        compare(film(tmp_path / "b.mp4", GAPES[:57]), truth, FakeTracker)
    with pytest.raises(BadMediaError, match="differ by 3 frames"):
        compare(truth, tmp_path / "b.mp4", FakeTracker)


def test_another_size_is_refused(truth: Path, tmp_path: Path) -> None:
    small = write(tmp_path / "small.mp4", [paint_face(160, 192)] * 10)
    with pytest.raises(BadMediaError, match=r"160x192 and truth\.mp4 224x272"):
        compare(small, truth, FakeTracker)


def test_a_missing_face_is_refused_and_names_the_file(truth: Path, tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.mp4", [np.full((272, 224, 3), 30, np.uint8)] * 60)
    trackers: list[FakeTracker] = []

    def tracker() -> FakeTracker:
        trackers.append(FakeTracker())
        return trackers[-1]

    with pytest.raises(NoFaceError, match=r"empty\.mp4 shows no face in 60 of 60"):
        compare(empty, truth, tracker)
    assert [one.closed for one in trackers] == [True, True]


def test_a_tiny_mouth_is_refused(tmp_path: Path) -> None:
    tiny = write(tmp_path / "tiny.mp4", [paint_face(32, 40)] * 5)
    with pytest.raises(NoFaceError, match="smaller than 12 pixels"):
        compare(tiny, tiny, FakeTracker)


def test_what_is_no_video_is_refused(truth: Path, tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="There is no video file"):
        compare(tmp_path / "gone.mp4", truth, FakeTracker)


def test_a_real_speaker_late_by_two_frames(data_folder: Path, tmp_path: Path) -> None:
    pictures = list(islice(read_rgb(data_folder / "clips" / "grid-bbaf2n.mpg"), 50))
    on_time = write(tmp_path / "on_time.mp4", pictures[2:])
    late = write(tmp_path / "late.mp4", pictures[:-2])

    def tracker() -> MediaPipeTracker:
        return MediaPipeTracker(data_folder / "models" / "face_landmarker.task")

    same, shifted = compare(on_time, on_time, tracker), compare(late, on_time, tracker)
    assert same.lag_frames == 0
    assert same.jaw_r == pytest.approx(1, abs=1e-6)
    assert shifted.lag_frames == 2
    assert shifted.psnr_mouth < same.psnr_mouth


@pytest.mark.parametrize(("moves", "low", "high"), [(True, 0.8, 1.0), (False, -1.0, 0.3)])
def test_lips_are_held_against_their_own_sound(tmp_path: Path, moves: bool, low: float, high: float) -> None:
    loudness = np.repeat(np.random.default_rng(1).uniform(0, 1, 15), 4)
    gapes = 0.01 + 0.08 * (loudness if moves else np.random.default_rng(2).permutation(loudness))
    tone = np.sin(np.arange(640 * 60) / 7).astype(np.float32)
    with VideoWriter(tmp_path / "talk.mp4", (272, 224), sound=True, crf=10) as video:
        for k, (gape, loud) in enumerate(zip(gapes, loudness, strict=True)):
            video.write(to_i420(paint_face(224, 272, gape=float(gape), seed=k)))
            video.write_sound(tone[640 * k : 640 * (k + 1)] * np.float32(loud))
    score = follow_voice(tmp_path / "talk.mp4", FakeTracker)
    assert low <= score.aperture_loudness_r <= high
