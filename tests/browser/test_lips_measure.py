"""The measure of test_lips.py, on pictures and sound whose delay is known."""

import numpy as np

from engine.anchor.package import Avatar
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.picture.yuv import to_rgb
from engine.speech.audio import FRAME_RATE, from_pcm16
from tests.browser.lips import (
    STEP_S,
    Recording,
    correlations,
    loop_pictures,
    mouth_box,
    opening,
    strongest,
    together,
    words_with_pauses,
)
from tests.fakes import FakeMouth

LATE = 3


def measure(avatar: Avatar, delay: int) -> tuple[float, float]:
    """What the measure makes of a presenter whose pictures are shown `delay` frames late."""
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth := FakeMouth()), mouth)
    live.push(words_with_pauses())
    live.finish()
    box = mouth_box(avatar.card)
    pictures, sounds = [], []
    while live.backlog_s > 0:
        tick = live.tick()
        rgb = to_rgb(tick.picture)[box.y : box.y + box.height : 2, box.x : box.x + box.width : 2]
        pictures.append(rgb @ np.array([0.299, 0.587, 0.114]))
        sounds.append(from_pcm16(tick.sound).reshape(4, -1))
    sound = np.sqrt(np.square(np.concatenate(sounds)).mean(axis=1))
    recording = Recording(
        pictures=np.stack(pictures),
        shown=10 + (np.arange(len(pictures)) + delay) / FRAME_RATE,
        sound_at=10 + (np.arange(sound.size) + 0.5) * STEP_S,
        sound=sound.astype(np.float64),
    )
    opened = opening(recording.pictures, loop_pictures(avatar, box))
    return strongest(correlations(*together(recording, opened)))


def test_lips_in_time_are_found_in_time(avatar: Avatar) -> None:
    lag, r = measure(avatar, 0)
    assert abs(lag) <= 0.75 / FRAME_RATE
    assert r >= 0.8


def test_late_lips_are_found_late(avatar: Avatar) -> None:
    lag, r = measure(avatar, LATE)
    assert abs(lag - LATE / FRAME_RATE) <= 0.75 / FRAME_RATE
    assert r >= 0.8
