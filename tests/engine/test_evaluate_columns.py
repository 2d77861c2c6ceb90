"""Several videos of one speech, measured in one reading."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadMediaError
from engine.evaluate.columns import PictureScore, place_of, score_columns
from engine.evaluate.mouth import compare_tracks
from engine.evaluate.track import Track, track
from tests.fakes import FakeTracker
from tests.films import GAPES, faces, film, write

FRAMES = 30


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Track]:
    folder = tmp_path_factory.mktemp("films")
    gapes = GAPES[:FRAMES]
    trembling = [
        np.clip(picture + 5.0 * (-1) ** k, 0, 255).astype(np.uint8) for k, picture in enumerate(faces(gapes))
    ]
    return {
        "truth": track(film(folder / "truth.mp4", gapes), FakeTracker),
        "soft": track(film(folder / "soft.mp4", gapes, blur=2), FakeTracker),
        "trembling": track(write(folder / "trembling.mp4", trembling), FakeTracker),
        "idle": track(film(folder / "idle.mp4", np.zeros(FRAMES)), FakeTracker),
    }


@pytest.fixture(scope="module")
def scores(films: dict[str, Track]) -> dict[str, PictureScore]:
    truth = films["truth"]
    return score_columns(truth, films, place_of(truth), films["idle"])


def test_the_truth_is_like_itself(scores: dict[str, PictureScore]) -> None:
    assert scores["truth"].fidelity.psnr_mouth == 60
    assert scores["truth"].fidelity.gmsd_mouth == pytest.approx(0, abs=1e-9)
    assert scores["truth"].fidelity.sharpness_ratio == pytest.approx(1)


def test_each_fault_shows_in_its_own_figure(scores: dict[str, PictureScore]) -> None:
    truth = scores["truth"]
    assert scores["soft"].fidelity.sharpness_ratio < 0.7
    assert scores["trembling"].flicker > truth.flicker + 8
    assert scores["trembling"].fidelity.sharpness_ratio == pytest.approx(1, abs=0.1)
    assert scores["idle"].flicker < truth.flicker
    assert scores["idle"].fidelity.psnr_mouth < scores["soft"].fidelity.psnr_mouth


def test_the_untouched_video_has_no_seam(scores: dict[str, PictureScore]) -> None:
    seam = scores["idle"].seam
    assert (seam.luma_step, seam.chroma_step, seam.gradient_ratio) == (0, 0, 1)


def test_likeness_is_that_of_compare(films: dict[str, Track], scores: dict[str, PictureScore]) -> None:
    alone = compare_tracks(films["soft"], films["truth"])
    assert scores["soft"].fidelity.psnr_mouth == pytest.approx(alone.psnr_mouth)
    assert scores["soft"].fidelity.gmsd_mouth == pytest.approx(alone.gmsd_mouth)
    assert scores["soft"].fidelity.sharpness_ratio == pytest.approx(alone.sharpness_ratio)


def test_the_place_follows_the_face_at_its_most_closed(films: dict[str, Track]) -> None:
    place = place_of(films["truth"])
    assert len(place.crops) == FRAMES
    assert place.mask.shape[0] == place.mask.shape[1]
    assert 96 <= place.mask.shape[0] <= 384
    assert place.mask.max() > 0.95
    assert place.mask.min() == 0


def test_a_video_of_other_length_is_refused(films: dict[str, Track], tmp_path: Path) -> None:
    truth = films["truth"]
    short = track(film(tmp_path / "short.mp4", GAPES[:20]), FakeTracker)
    with pytest.raises(BadMediaError, match="differ by 10 frames"):
        score_columns(truth, {"short": short}, place_of(truth), truth)
