"""An avatar in pictures of another size: everything that is drawn with it fits."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.fitted import FittedAvatar
from engine.anchor.package import Avatar
from engine.errors import AvatarError
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.picture.yuv import planes, to_rgb
from tests.fakes import FRAME_SIZE, FRAMES, FakeMouth, make_avatar, speech_like
from tests.streaming.presenters import add_matte

CANVAS = (320, 240)
WIDTH, HEIGHT = FRAME_SIZE
SCALE = CANVAS[1] / HEIGHT
LEFT = (CANVAS[0] - WIDTH * SCALE) / 2


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = make_avatar(tmp_path)
    add_matte(folder)
    return folder


@pytest.fixture
def original(package: Path) -> Avatar:
    return Avatar.load(package)


@pytest.fixture
def fitted(original: Avatar) -> FittedAvatar:
    return FittedAvatar(original, CANVAS)


def test_its_pictures_have_the_canvas_size(fitted: FittedAvatar) -> None:
    assert fitted.size == fitted.card.size == CANVAS
    assert fitted.frames == FRAMES
    for index in range(FRAMES):
        assert fitted.frame(index).shape == (CANVAS[1] * 3 // 2, CANVAS[0])
        assert not fitted.frame(index).flags.writeable


def test_what_a_mouth_sees_is_the_original(original: Avatar, fitted: FittedAvatar) -> None:
    for index in range(FRAMES):
        assert fitted.face(index) is original.face(index)
        np.testing.assert_array_equal(fitted.mask(index), original.mask(index))
    assert (fitted.crop_size, fitted.mouth) == (original.crop_size, original.mouth)


def test_the_original_stays_as_it_was(original: Avatar, fitted: FittedAvatar) -> None:
    assert original.size == FRAME_SIZE
    assert original.card.crops[0].size == pytest.approx(fitted.card.crops[0].size / SCALE, rel=0.01)
    assert fitted.card.crops[0].cx == pytest.approx(LEFT + original.card.crops[0].cx * SCALE, abs=1)


def test_a_mouth_is_drawn_where_the_face_is(original: Avatar, fitted: FittedAvatar) -> None:
    """The same speech on both: the difference that the mouth makes lies at the same place of the face."""
    mouth = FakeMouth()
    features = AnchorFeatures(original, mouth)
    places = []
    for avatar in (original, fitted):
        live = LiveAvatar(avatar, features, mouth)
        live.push(speech_like(1.0))
        changed = np.zeros(avatar.size[::-1])
        for _ in range(25):
            tick = live.tick()
            idle = planes(avatar.frame(tick.frame))[0].astype(float)
            changed += np.abs(planes(tick.picture)[0] - idle)
        rows, columns = np.nonzero(changed > 0.3 * changed.max())
        places.append((columns.mean(), rows.mean(), np.ptp(columns)))
    (x, y, wide), (fitted_x, fitted_y, fitted_wide) = places
    assert fitted_x == pytest.approx(LEFT + x * SCALE, abs=2)
    assert fitted_y == pytest.approx(y * SCALE, abs=2)
    assert fitted_wide == pytest.approx(wide * SCALE, rel=0.2)
    assert mouth.encoded <= FRAMES, "both share the features"


def test_around_the_presenter_there_is_wall(fitted: FittedAvatar) -> None:
    assert fitted.mattes
    matte = fitted.mattes[3]
    assert matte.shape == (CANVAS[1], CANVAS[0])
    assert not matte[:, : CANVAS[0] // 2 - 4].any()
    assert matte[:, CANVAS[0] // 2 + 4 : round(LEFT + WIDTH * SCALE) - 4].min() > 250
    assert not matte[:, round(LEFT + WIDTH * SCALE) + 2 :].any()


def test_a_picture_scaled_is_the_same_picture(original: Avatar, fitted: FittedAvatar) -> None:
    shown = to_rgb(fitted.frame(0))[:, round(LEFT) : round(LEFT + WIDTH * SCALE)]
    scaled = cv2.resize(original.rgb(0), shown.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(shown.astype(int) - scaled).mean() < 2


def test_without_mattes_it_has_none(tmp_path: Path) -> None:
    assert FittedAvatar(Avatar.load(make_avatar(tmp_path)), CANVAS).mattes is None


def test_a_matte_that_was_damaged_meanwhile_is_told(package: Path, original: Avatar) -> None:
    (package / "matte.mp4").write_bytes(b"no film")
    with pytest.raises(AvatarError, match=r"matte\.mp4"):
        FittedAvatar(original, CANVAS)
