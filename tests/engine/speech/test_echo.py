"""What was played is taken away, what was not stays."""

import time

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.echo import ECHO_BLOCK, EchoCanceller
from tests.fakes import speech_like
from tests.rooms import echo_of


def run(heard: Samples, played: Samples) -> Samples:
    canceller = EchoCanceller()
    blocks = range(0, heard.size - ECHO_BLOCK + 1, ECHO_BLOCK)
    return np.concatenate(
        [canceller.push(heard[n : n + ECHO_BLOCK], played[n : n + ECHO_BLOCK]) for n in blocks]
    )


def level_db(sound: Samples) -> float:
    return float(10 * np.log10(np.mean(sound.astype(np.float64) ** 2) + 1e-12))


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.137, 0.35, 0.5])
@pytest.mark.parametrize("gain_db", [-20.0, 0.0, 6.0])
def test_an_echo_of_any_delay_and_gain_is_gone(delay_s: float, gain_db: float) -> None:
    played = speech_like(6.0, seed=1)
    heard = echo_of(played, delay_s, gain_db, room_s=0.1, seed=2)
    rest = run(heard, played)
    assert level_db(rest) < level_db(heard) - 25
    assert np.abs(rest[: SAMPLE_RATE // 2]).max() < np.abs(heard).max(), "silent before it has learnt"


def test_without_anything_played_everything_stays() -> None:
    heard = speech_like(2.0)
    np.testing.assert_allclose(run(heard, np.zeros_like(heard)), heard, atol=1e-5)


def test_a_voice_over_the_echo_stays_and_the_echo_goes_on_being_cancelled() -> None:
    played = speech_like(10.0, seed=1)
    echo = echo_of(played, 0.2, -6.0, room_s=0.1, seed=2)
    voice = np.zeros_like(echo)
    begin, end = 5 * SAMPLE_RATE, 7 * SAMPLE_RATE
    voice[begin:end] = speech_like(2.0, seed=9)
    rest = run(echo + voice, played)
    before, during, after = slice(begin - SAMPLE_RATE, begin), slice(begin, end), slice(end + 8000, None)
    assert level_db(rest[during]) > level_db(rest[before]) + 20
    assert np.corrcoef(rest[during], voice[during])[0, 1] > 0.4
    assert level_db(rest[after]) < level_db(echo[after]) - 25


def test_a_shift_with_doubt_is_learnt_anew_in_silence() -> None:
    played = speech_like(10.0, seed=1)
    echo = echo_of(played, 0.3, 0.0, room_s=0.1, seed=2)
    half = echo.size // 2 // ECHO_BLOCK * ECHO_BLOCK
    shifted = np.concatenate([echo[:half], echo[half - 1600 : -1600]])
    canceller, rest = EchoCanceller(), []
    for n in range(0, echo.size - ECHO_BLOCK + 1, ECHO_BLOCK):
        if n == half:
            canceller.doubt()
        rest.append(canceller.push(shifted[n : n + ECHO_BLOCK], played[n : n + ECHO_BLOCK]))
    after = np.concatenate(rest)[half + 1600 :]
    assert level_db(after) < level_db(echo[half:]) - 20


def test_with_headphones_a_voice_passes_while_the_presenter_speaks() -> None:
    voice = np.concatenate([np.zeros(2 * SAMPLE_RATE, np.float32), speech_like(2.0, seed=9)])
    rest = run(voice, speech_like(4.0, seed=1))
    assert level_db(rest[2 * SAMPLE_RATE :]) > level_db(voice[2 * SAMPLE_RATE :]) - 15


def test_a_block_costs_little() -> None:
    canceller, sound = EchoCanceller(), speech_like(2.0)
    begin = time.process_time()
    for n in range(0, sound.size, ECHO_BLOCK):
        canceller.push(sound[n : n + ECHO_BLOCK], sound[n : n + ECHO_BLOCK])
    assert (time.process_time() - begin) / (sound.size / ECHO_BLOCK) < 0.005
