"""What is shipped: two presenters, whole, small, and with their papers."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.package import Avatar, find_avatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.picture.yuv import Frame
from engine.speech.mel import MEL_BANDS, SILENCE, WINDOW_COLUMNS

ROOT = Path(__file__).parents[1]
NAMES = ("ada", "kai")


@pytest.fixture(scope="module", params=NAMES)
def presenter(request: pytest.FixtureRequest) -> Avatar:
    return Avatar.load(find_avatar(request.param))


def test_a_presenter_is_eleven_seconds_of_720p_square(presenter: Avatar) -> None:
    assert presenter.size == (720, 720)
    assert 250 <= presenter.frames <= 300
    assert presenter.card.idle.loop == "forward"


def test_the_loop_closes_without_a_jump(presenter: Avatar) -> None:
    def distance(first: Frame, second: Frame) -> float:
        return float(np.abs(first.astype(int) - second).mean())

    frames = [presenter.frame(index) for index in range(presenter.frames)]
    inside = max(distance(a, b) for a, b in itertools.pairwise(frames))
    assert distance(frames[-1], frames[0]) <= 1.2 * inside


def test_the_crop_does_not_tremble(presenter: Avatar) -> None:
    track = np.array([[crop.cx, crop.cy] for crop in presenter.card.crops])
    assert np.abs(np.diff(track, n=2, axis=0)).max() < 0.5


def test_licence_consent_and_credits_are_told(presenter: Avatar) -> None:
    assert presenter.card.licence == "MIT"
    assert presenter.card.consent is not None
    assert presenter.card.consent.shown == "rendered"
    assert "no real person" in presenter.card.consent.statement
    assert "Tiffany Do" in presenter.card.credits
    assert "Tiffany Do" in (ROOT / "NOTICE").read_text()


def test_silence_leaves_the_mouth_as_it_is(presenter: Avatar) -> None:
    mouth = OpenVinoMouth(presenter.mouth)
    features = AnchorFeatures(presenter, mouth)
    silent = np.full((1, MEL_BANDS, WINDOW_COLUMNS), SILENCE, np.float32)
    for index in (0, 100, 200):
        painted = mouth.decode(silent, [features[index]])[0]
        idle = presenter.face(index)
        worn = presenter.mask(index) > 0.5
        assert np.abs(painted.astype(int) - idle)[worn].mean() < 6


def test_the_repository_stays_light() -> None:
    shipped = sum(path.stat().st_size for path in (ROOT / "avatars").rglob("*") if path.is_file())
    assert shipped < 40_000_000
