"""Something in front of the mouth."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.canonical import head_pose
from engine.anchor.cover import SIDE, covered, mouth_patch
from engine.anchor.crop import Crop, Picture, crop_from_landmarks
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.picture.video import read_rgb

Cover = Callable[[Picture, Crop, tuple[int, ...]], Picture]


def patches(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """A skin with lips that open and close, and some noise."""
    random = np.random.default_rng(seed)
    skin = np.full((count, SIDE, SIDE, 3), (160, 145, 150), np.float64)
    for number in range(count):
        tall = 1 + number % 3
        skin[number, 10 - tall : 10 + tall, 8:16] = (90, 160, 140)
    return np.clip(skin + random.normal(0, 2, skin.shape), 0, 255).astype(np.uint8)


STRAIGHT = np.zeros((200, 2), np.float32)


def test_talking_covers_nothing() -> None:
    assert covered(patches(200), STRAIGHT).max() == 0


def test_what_comes_and_goes_is_seen() -> None:
    looks = patches(200)
    looks[80:110, 8:22, 2:22] = (60, 128, 128)
    found = covered(looks, STRAIGHT)
    assert found[80:110].min() == 1
    assert found[:80].max() == found[110:].max() == 0


def test_a_cloud_before_the_sun_covers_nothing() -> None:
    looks = patches(200).astype(int)
    looks[90:130, ..., 0] -= 45
    assert covered(np.clip(looks, 0, 255).astype(np.uint8), STRAIGHT).max() == 0


def test_a_head_that_turns_is_held_against_its_like() -> None:
    looks, turns = patches(200), STRAIGHT.copy()
    turns[100:, 0] = 25
    looks[100:, :, 12:] = (70, 128, 128)  # the half that turned away lies in shadow
    assert covered(looks, turns).max() == 0
    looks[150:165, 6:20, 2:12] = (50, 120, 128)
    assert covered(looks, turns)[150:165].min() > 0.5


def test_a_beard_covers_nothing() -> None:
    looks = patches(200)
    looks[:, 12:, 4:20] = (50, 128, 128)
    assert covered(looks, STRAIGHT).max() == 0


def test_no_face_is_no_answer() -> None:
    empty = np.zeros((0, SIDE, SIDE, 3), np.uint8)
    assert covered(empty, np.zeros((0, 2), np.float32)).shape == (0,)
    assert covered(patches(1), STRAIGHT[:1]).tolist() == [0]


def hand(frame: Picture, crop: Crop, skin: tuple[int, ...]) -> Picture:
    """Four fingers of the person's own colour laid over the mouth."""
    side = crop.size
    for finger in range(4):
        top = crop.cy - (0.17 - 0.13 * finger) * side
        start, end = (
            (int(crop.cx - 0.45 * side), int(top + 0.08 * side)),
            (int(crop.cx + 0.2 * side), int(top)),
        )
        shade = tuple(int(min(value * (1.05 - 0.07 * finger), 255)) for value in skin)
        cv2.line(frame, start, end, shade, int(0.125 * side))
        low = int(0.06 * side)
        dark = tuple(int(value * 0.6) for value in shade)
        cv2.line(frame, (start[0], start[1] + low), (end[0], end[1] + low), dark, max(1, int(0.012 * side)))
    return frame


def microphone(frame: Picture, crop: Crop, skin: tuple[int, ...]) -> Picture:
    """A grey ball before the lower lip and chin."""
    centre = (int(crop.cx), int(crop.cy + 0.15 * crop.size))
    cv2.ellipse(frame, centre, (int(0.2 * crop.size), int(0.3 * crop.size)), 0, 0, 360, (40, 40, 44), -1)
    return frame


@pytest.mark.parametrize("cover", [hand, microphone])
@pytest.mark.parametrize("clip", ["grid-bbaf2n.mpg", "syncnet-example.avi"])
def test_on_filmed_faces(data_folder: Path, clip: str, cover: Cover) -> None:
    looks, turns, numbers = [], [], []
    last = None
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task") as tracker:
        for number, frame in enumerate(islice(read_rgb(data_folder / "clips" / clip), 75)):
            hidden = 40 <= number < 60
            if hidden and last is not None:
                x, y = last[205]
                skin = tuple(int(value) for value in frame[int(y), int(x)])
                frame = cover(frame.copy(), crop_from_landmarks(last), skin)
            face = tracker.track(frame, number * 40)
            if face is None:
                continue
            last = last if hidden else face.landmarks
            pose = head_pose(face.landmarks)
            looks.append(mouth_patch(frame, crop_from_landmarks(face.landmarks)))
            turns.append((pose.yaw, pose.pitch))
            numbers.append(number)
    found = dict(zip(numbers, covered(np.stack(looks), np.array(turns, np.float32)), strict=True))
    during = [found[number] > 0.5 for number in range(42, 60) if number in found]
    apart = [value > 0.5 for number, value in found.items() if not 38 <= number < 64]
    assert np.mean(during) > 0.5
    assert np.mean(apart) < 0.1
