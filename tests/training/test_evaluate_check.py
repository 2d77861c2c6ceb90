"""The measures against copies that are spoilt on purpose: each fault shows where it ought to."""

from pathlib import Path

import pytest

from engine.picture.video import read_rgb
from tests.fakes import FakeTracker
from tests.films import GAPES, film
from training.evaluate_check import SPOILS, CheckRow, check


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CheckRow]:
    folder = tmp_path_factory.mktemp("check")
    told: list[tuple[int, int]] = []
    found = check(
        film(folder / "film.mp4", GAPES), folder / "copies", FakeTracker,
        seconds=1.2, progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(k, len(SPOILS)) for k in range(len(SPOILS))]
    assert sum(1 for _ in read_rgb(folder / "copies" / "late.mp4")) == 30
    return found


def test_every_copy_is_scored(rows: dict[str, CheckRow]) -> None:
    assert list(rows) == list(SPOILS)


def test_the_same_video_is_all_but_perfect(rows: dict[str, CheckRow]) -> None:
    same = rows["same"]  # encoded a second time
    assert same.psnr_mouth > 45
    assert same.ssim_mouth > 0.99
    assert same.gmsd_mouth < 0.01
    assert (same.jaw_r, same.aperture_r, same.sharpness_ratio) == pytest.approx((1, 1, 1), abs=0.02)
    assert same.lag_frames == 0
    assert (same.flicker_ratio, same.seam_gradient) == pytest.approx((1, 1), abs=0.1)
    assert max(same.seam_luma, same.seam_chroma) < 1


def test_blur_costs_sharpness_and_leaves_the_lips_in_time(rows: dict[str, CheckRow]) -> None:
    assert rows["blurred"].sharpness_ratio < 0.75
    assert rows["blurred"].gmsd_mouth > 0.02
    assert rows["blurred"].jaw_r > 0.9
    assert rows["blurred"].lag_frames == 0


def test_a_late_copy_has_its_lag_and_stays_sharp(rows: dict[str, CheckRow]) -> None:
    assert rows["late"].lag_frames == 3
    assert rows["late"].jaw_r < 0.8
    assert rows["late"].sharpness_ratio == pytest.approx(1, abs=0.1)


def test_a_frozen_mouth_follows_nothing_and_hardly_trembles(rows: dict[str, CheckRow]) -> None:
    assert not rows["frozen"].jaw_r > 0.5
    assert rows["frozen"].flicker_ratio < 0.8


def test_flicker_is_found_by_the_flicker_alone(rows: dict[str, CheckRow]) -> None:
    others = [row.flicker_ratio for name, row in rows.items() if name != "flickering"]
    assert rows["flickering"].flicker_ratio > max(others) + 0.5
    assert rows["flickering"].jaw_r > 0.9


def test_a_tint_steps_in_colour_and_a_box_in_brightness_and_slope(rows: dict[str, CheckRow]) -> None:
    assert rows["tinted"].seam_chroma > 2
    assert rows["boxed"].seam_chroma < 1
    assert rows["boxed"].seam_luma > 4
    assert rows["boxed"].seam_gradient > rows["tinted"].seam_gradient + 0.1


@pytest.mark.slow
def test_the_same_holds_for_a_filmed_person(data_folder: Path, tmp_path: Path) -> None:
    from engine.anchor.mediapipe_tracker import MediaPipeTracker

    clip = data_folder / "clips" / "hdtf-RD_Radio34_000.mp4"
    rows = check(clip, tmp_path, MediaPipeTracker, seconds=2)
    assert rows["blurred"].sharpness_ratio < 0.5
    assert rows["late"].lag_frames == 3
    assert rows["frozen"].aperture_r < 0.5
    assert rows["flickering"].flicker_ratio > 1.3
    assert rows["tinted"].seam_chroma > 3
    assert rows["boxed"].seam_gradient > 1.2
