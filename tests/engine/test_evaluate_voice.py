"""Where speech pauses, and how open a mouth is there."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.tracker import Face
from engine.evaluate.track import Track
from engine.evaluate.voice import MIN_PAUSE_TICKS, pause_aperture, pauses
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples
from tests.fakes import fake_landmarks


def buzz(seconds: float, level: float = 0.3) -> Samples:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(level * np.sin(2 * np.pi * 180 * time), np.float32)


def tracked(gaps: NDArray[np.float64]) -> Track:
    blend = {"jawOpen": 0.0, "mouthPucker": 0.0}
    return Track(
        Path("a.mp4"), (200, 240), [Face(fake_landmarks(200, 240, float(gap)), blend) for gap in gaps]
    )


def test_pauses_keep_their_distance_from_sound() -> None:
    sound = np.concatenate([buzz(1), np.zeros(SAMPLE_RATE, np.float32), buzz(1)])
    quiet = np.flatnonzero(pauses(sound))
    # Sound in ticks 0 to 24 and 50 to 74: four ticks after it and three before it do not count.
    assert quiet.tolist() == list(range(29, 47))


def test_a_pause_is_relative_to_the_recording() -> None:
    for gain in (1.0, 0.05):
        sound = gain * np.concatenate([buzz(1), buzz(1, 0.3 * 10 ** (-40 / 20)), buzz(1)])
        assert pauses(sound.astype(np.float32)).sum() == 18
    louder = np.concatenate([buzz(1), buzz(1, 0.3 * 10 ** (-20 / 20)), buzz(1)])
    assert not pauses(louder).any()


def test_silence_is_one_long_pause() -> None:
    assert pauses(np.zeros(20 * SAMPLES_PER_TICK, np.float32)).all()


def test_an_open_mouth_in_a_pause_is_told_from_a_closed_one() -> None:
    sound = np.concatenate([buzz(1), np.zeros(SAMPLE_RATE, np.float32)])
    speaking = np.concatenate([np.full(25, 0.08), np.zeros(25)])
    assert pause_aperture(tracked(speaking), sound) == pytest.approx(0, abs=1e-6)
    assert pause_aperture(tracked(np.full(50, 0.063)), sound) == pytest.approx(0.1, rel=0.02)


def test_too_short_a_pause_says_nothing() -> None:
    ticks = MIN_PAUSE_TICKS - 1 + 7
    sound = np.concatenate([buzz(1), np.zeros(ticks * SAMPLES_PER_TICK, np.float32), buzz(1)])
    assert pause_aperture(tracked(np.zeros(50 + ticks)), sound) is None
