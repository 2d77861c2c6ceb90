"""The log-mel spectrogram: its conventions, its windows, streaming equal to offline."""

import numpy as np
import pytest

from engine.speech.audio import SAMPLES_PER_TICK
from engine.speech.mel import (
    HOP,
    LOOKAHEAD_SAMPLES,
    MEL_BANDS,
    WINDOW_COLUMNS,
    StreamingMel,
    log_mel,
    window,
    window_start,
)
from tests.fakes import speech_like


def reference_mel(
    samples: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Wav2Lip's own steps, written the other way round: whole arrays, filters from the textbook formula."""
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1].astype(np.float64))
    padded = np.pad(emphasised, 400)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 800)[::200]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(801)[:-1])).T

    def mel(hertz: float) -> float:
        return hertz / (200 / 3) if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    edges = [hertz(m) for m in np.linspace(mel(55), mel(7600), 82)]
    bank = np.zeros((80, 401))
    for band, (low, centre, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for k in range(401):
            frequency = 20 * k
            if low < frequency <= centre:
                bank[band, k] = (frequency - low) / (centre - low)
            elif centre < frequency < high:
                bank[band, k] = (high - frequency) / (high - centre)
        bank[band] *= 2 / (high - low)
    decibel = 20 * np.log10(np.maximum(1e-5, bank @ magnitude)) - 20
    return np.clip(8 * (decibel + 100) / 100 - 4, -4, 4)


def test_follows_the_conventions_of_the_family() -> None:
    samples = speech_like(1.3)
    mel = log_mel(samples)
    assert mel.dtype == np.float32
    assert mel.shape == (MEL_BANDS, 1 + samples.size // HOP)
    # The last columns differ by design: silence follows the sound, not its pre-emphasised copy.
    np.testing.assert_allclose(mel[:, :-2], reference_mel(samples)[:, :-2], atol=1e-4)
    assert mel.max() > 0


def test_silence_is_the_lowest_value() -> None:
    assert (log_mel(np.zeros(3200, np.float32)) == -4).all()
    assert log_mel(np.zeros(0, np.float32)).shape == (MEL_BANDS, 1)


@pytest.mark.parametrize("seed", range(4))
def test_streaming_equals_offline_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 0.1, 9000 + int(rng.integers(0, 400))).astype(np.float32)
    stream = StreamingMel()
    pieces, position = [], 0
    while position < samples.size:
        step = int(rng.choice([0, 1, 160, 320, 641, 3000]))
        pieces.append(stream.push(samples[position : position + step]))
        position += step
    pieces.append(stream.flush())
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), log_mel(samples))


def test_a_flushed_stream_starts_anew() -> None:
    stream = StreamingMel()
    samples = speech_like(0.3)
    first = np.concatenate([stream.push(samples), stream.flush()], axis=1)
    second = np.concatenate([stream.push(samples), stream.flush()], axis=1)
    np.testing.assert_array_equal(first, second)


def test_a_column_is_centred_on_its_sample() -> None:
    click = np.zeros(8000, np.float32)
    click[4000] = 1
    loudness = log_mel(click).mean(axis=0)
    assert int(loudness.argmax()) == 4000 // HOP
    assert loudness[4000 // HOP - 3] == -4
    assert loudness[4000 // HOP + 3] == -4


def test_windows_start_three_ticks_early_and_pad_with_silence() -> None:
    mel = np.arange(50, dtype=np.float32)[None] + np.zeros((MEL_BANDS, 1), np.float32)
    for tick in range(40):
        start = round(3.2 * (tick - 3))
        assert window_start(tick) == start
        expected = [k if 0 <= k < 50 else -4 for k in range(start, start + WINDOW_COLUMNS)]
        np.testing.assert_array_equal(window(mel, tick)[0], expected)
    assert window(mel, 1000).max() == -4


@pytest.mark.parametrize("tick", range(3, 18))
def test_the_lookahead_completes_every_window_and_no_less_does(tick: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32)
    whole = window(log_mel(samples), tick)
    seen = tick * SAMPLES_PER_TICK + LOOKAHEAD_SAMPLES
    stream = StreamingMel()
    assert stream.push(samples[:seen]).shape[1] >= window_start(tick) + WINDOW_COLUMNS
    np.testing.assert_array_equal(window(log_mel(samples[:seen]), tick), whole)


def test_the_lookahead_is_no_longer_than_the_worst_phase_needs() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32)
    short = [
        StreamingMel().push(samples[: tick * SAMPLES_PER_TICK + LOOKAHEAD_SAMPLES - 1]).shape[1]
        < window_start(tick) + WINDOW_COLUMNS
        for tick in range(3, 8)
    ]
    assert any(short)
