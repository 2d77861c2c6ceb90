"""A file's sound on the clock of its pictures (more of it in tests/training/preprocess/test_rates.py)."""

import io
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadMediaError
from engine.speech.audio import SAMPLE_RATE, Samples, from_pcm16, level_db
from engine.speech.gate import voiced_ticks
from engine.speech.timeline import write_sound
from tests import fakes
from tests.fakes import room_noise, speech_like
from tests.phone_films import marked_picture, write_film


def heard(path: Path, zero: float = 0.0, seconds: float | None = None) -> Samples:
    file = io.BytesIO()
    count, damaged = write_sound(path, file, zero, seconds)
    samples = from_pcm16(np.frombuffer(file.getvalue(), np.int16))
    assert (samples.size, damaged) == (count, 0)
    return samples


def test_sound_begins_with_the_picture(tmp_path: Path) -> None:
    speech = speech_like(3.0)
    whole = heard(fakes.write_sound(tmp_path / "a.wav", speech, SAMPLE_RATE))
    np.testing.assert_allclose(whole, speech, atol=1e-3)
    later = heard(tmp_path / "a.wav", zero=1.0)
    np.testing.assert_allclose(later, speech[SAMPLE_RATE:], atol=1e-3)
    earlier = heard(tmp_path / "a.wav", zero=-0.5)
    assert not earlier[: SAMPLE_RATE // 2].any()
    assert earlier.size == speech.size + SAMPLE_RATE // 2


def test_no_more_is_read_than_asked(tmp_path: Path) -> None:
    path = fakes.write_sound(tmp_path / "a.m4a", speech_like(20.0), SAMPLE_RATE)
    assert SAMPLE_RATE * 2 <= heard(path, seconds=2.0).size < SAMPLE_RATE * 3


def test_a_silent_film_has_none(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", [marked_picture()] * 5)
    with pytest.raises(BadMediaError, match="no packet of it is whole"):
        write_sound(film, io.BytesIO(), 0.0)


def test_ticks_hear_what_the_gate_hears() -> None:
    sound = np.concatenate([room_noise(1.0), speech_like(1.0), room_noise(1.0)])
    whole = voiced_ticks([sound], 75)
    assert whole.shape == (75,)
    assert not whole[:24].any()
    assert whole[28:50].all()
    assert not whole[60:].any()
    np.testing.assert_array_equal(voiced_ticks(np.array_split(sound, 7), 75), whole)


def test_ticks_beyond_the_sound_are_silent() -> None:
    assert voiced_ticks([speech_like(1.0)], 50)[26:].sum() == 0
    assert voiced_ticks([], 4).tolist() == [False] * 4
    assert voiced_ticks([speech_like(2.0)], 10).shape == (10,)


@pytest.mark.parametrize(("level", "expected"), [(1.0, 0), (0.1, -20), (0.001, -60)])
def test_levels_are_decibels(level: float, expected: float) -> None:
    assert level_db(np.full(640, level, np.float32)) == pytest.approx(expected, abs=0.01)


def test_silence_has_a_floor() -> None:
    assert level_db(np.zeros(640, np.float32)) == pytest.approx(-100)
