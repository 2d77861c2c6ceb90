"""Speech that waits: order, windows, bounds."""

import numpy as np
import pytest

from engine.speech.audio import SAMPLES_PER_TICK, Samples
from engine.speech.buffer import LIVE_SPARE_TICKS, SpeechBuffer
from engine.speech.mel import LOOKAHEAD_SAMPLES, log_mel, window
from tests.fakes import room_noise, speech_like


def drain(buffer: SpeechBuffer, ticks: int) -> Samples:
    return np.concatenate([np.zeros(0, np.float32), *(buffer.advance() for _ in range(ticks))])


def test_waits_for_the_lookahead() -> None:
    buffer = SpeechBuffer()
    speech = speech_like(1.0)
    buffer.push(speech[: LOOKAHEAD_SAMPLES - 1], live=False)
    assert not buffer.ready
    assert not buffer.advance().any()
    buffer.push(speech[LOOKAHEAD_SAMPLES - 1 : LOOKAHEAD_SAMPLES], live=False)
    assert buffer.ready
    np.testing.assert_array_equal(buffer.advance(), speech[:SAMPLES_PER_TICK])


@pytest.mark.parametrize("idle", [0, 3, 7])
def test_windows_are_those_of_the_sound_given_out(idle: int) -> None:
    buffer = SpeechBuffer()
    speech = speech_like(1.2)
    drain(buffer, idle)
    buffer.push(speech, live=False)
    mel = log_mel(np.concatenate([np.zeros(idle * SAMPLES_PER_TICK, np.float32), speech]))
    for tick in range(idle, idle + 25):
        np.testing.assert_array_equal(buffer.window(), window(mel, tick))
        buffer.advance()


def test_an_underrun_is_heard_and_seen_as_silence() -> None:
    buffer = SpeechBuffer()
    speech = speech_like(1.0)
    buffer.push(speech[:8000], live=False)
    spoken = 0
    while buffer.ready:
        buffer.window()
        buffer.advance()
        spoken += 1
    assert not buffer.advance().any()
    buffer.push(speech[8000:], live=False)
    gap = np.zeros(SAMPLES_PER_TICK, np.float32)
    at = spoken * SAMPLES_PER_TICK
    mel = log_mel(np.concatenate([speech[:at], gap, speech[at:]]))
    for tick in range(spoken + 1, spoken + 8):
        np.testing.assert_array_equal(buffer.window(), window(mel, tick))
        buffer.advance()


def test_queued_speech_is_never_dropped_and_finish_speaks_its_end() -> None:
    buffer = SpeechBuffer()
    speech = speech_like(3.01)
    for start in range(0, speech.size, 1000):
        buffer.push(speech[start : start + 1000], live=False)
    assert buffer.backlog == speech.size
    buffer.finish()
    assert buffer.backlog == pytest.approx(speech.size, abs=SAMPLES_PER_TICK)
    ticks = -(-speech.size // SAMPLES_PER_TICK)
    np.testing.assert_array_equal(drain(buffer, ticks)[: speech.size], speech)
    assert buffer.backlog == 0
    assert not buffer.ready
    assert not drain(buffer, 5).any()


def test_one_sentence_follows_another() -> None:
    buffer = SpeechBuffer()
    first, second = speech_like(0.5), speech_like(0.5, seed=1)
    buffer.push(first, live=False)
    buffer.finish()
    buffer.push(second, live=False)
    buffer.finish()
    sound = drain(buffer, 40)
    np.testing.assert_array_equal(sound[: first.size], first)
    start = first.size + (-first.size % SAMPLES_PER_TICK) + LOOKAHEAD_SAMPLES
    np.testing.assert_array_equal(sound[start : start + second.size], second)


def test_finish_without_speech_changes_nothing() -> None:
    buffer = SpeechBuffer()
    buffer.finish()
    assert buffer.backlog == 0
    assert not buffer.ready


def test_a_microphone_that_runs_ahead_is_kept_short() -> None:
    buffer = SpeechBuffer()
    limit = LOOKAHEAD_SAMPLES + LIVE_SPARE_TICKS * SAMPLES_PER_TICK
    speech = speech_like(3.0)
    buffer.push(speech, live=True)
    assert buffer.backlog <= limit
    assert buffer.backlog > limit - 640
    # The newest speech is what is kept.
    start = speech.size - buffer.backlog
    np.testing.assert_array_equal(buffer.advance(), speech[start : start + SAMPLES_PER_TICK])


def test_silence_is_left_out_before_speech() -> None:
    buffer = SpeechBuffer()
    speech = speech_like(0.15)
    buffer.push(np.concatenate([room_noise(0.5, 0.001), speech]), live=True)
    assert speech.size <= buffer.backlog <= LOOKAHEAD_SAMPLES + LIVE_SPARE_TICKS * SAMPLES_PER_TICK
    buffer.finish()
    sound = drain(buffer, 8)
    assert np.correlate(sound, speech, "valid").max() == pytest.approx(float(speech @ speech), rel=1e-4)


def test_a_steady_microphone_is_neither_starved_nor_trimmed() -> None:
    buffer = SpeechBuffer()
    speech = speech_like(4.0)
    heard = []
    for tick in range(90):
        for half in range(2):
            start = (2 * tick + half) * 320
            buffer.push(speech[start : start + 320], live=True)
        heard.append(buffer.advance())
    sound = np.concatenate(heard)
    first = int(np.flatnonzero(sound)[0]) // SAMPLES_PER_TICK * SAMPLES_PER_TICK
    assert first <= 3 * SAMPLES_PER_TICK
    np.testing.assert_array_equal(sound[first:], speech[: sound.size - first])


def test_the_last_words_of_a_microphone_that_stops_are_heard() -> None:
    buffer = SpeechBuffer()
    speech = speech_like(0.4)
    heard = []
    for start in range(0, speech.size, SAMPLES_PER_TICK):
        buffer.push(speech[start : start + SAMPLES_PER_TICK], live=True)
        heard.append(buffer.advance())
    heard += [buffer.advance() for _ in range(12)]
    sound = np.concatenate(heard)
    assert np.abs(sound).sum() == pytest.approx(np.abs(speech).sum(), rel=1e-4)
    assert buffer.backlog == 0


def test_a_microphone_waits_while_text_is_spoken() -> None:
    buffer = SpeechBuffer()
    text, voice = speech_like(0.5), -0.5 * np.ones(3200, np.float32)
    buffer.push(text, live=False)
    buffer.finish()
    buffer.push(voice, live=True)
    sound = drain(buffer, 20)
    np.testing.assert_array_equal(sound[: text.size], text)
    assert not sound[text.size :].any()
    buffer.push(voice, live=True)
    assert (drain(buffer, 2) == -0.5).all()


def test_clear_forgets_everything() -> None:
    buffer = SpeechBuffer()
    buffer.push(speech_like(2.0), live=False)
    drain(buffer, 5)
    assert buffer.clear() == 32000 - 5 * SAMPLES_PER_TICK
    assert buffer.clear() == 0
    assert not drain(buffer, 3).any()
    buffer.push(np.zeros(3200, np.float32), live=False)
    assert (buffer.window() == -4).all()


def test_a_long_text_costs_a_tick_nothing() -> None:
    buffer = SpeechBuffer()
    buffer.push(np.tile(speech_like(2.0), 60), live=False)
    assert buffer.voiced
    assert len(buffer._flags) < 20
