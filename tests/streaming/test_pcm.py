"""Sound of any rate, in any pieces, comes out whole at 16 kHz."""

import random

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE
from streaming.pcm import PcmReader


def tone(rate: int, seconds: float, hertz: float = 440) -> bytes:
    at = np.arange(round(rate * seconds)) / rate
    return (12_000 * np.sin(2 * np.pi * hertz * at)).astype("<i2").tobytes()


def pieces(data: bytes, seed: int) -> list[bytes]:
    rng, found = random.Random(seed), []
    while data:
        size = rng.choice((1, 2, 3, 480, 481, 960, 4096))
        found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_level_and_length(rate: int) -> None:
    reader = PcmReader(rate)
    out = np.concatenate([reader.push(tone(rate, 1.0)), reader.flush()])
    assert out.dtype == np.float32
    assert out.size == SAMPLE_RATE
    spectrum = np.abs(np.fft.rfft(out * np.hanning(out.size)))
    assert abs(int(np.argmax(spectrum)) - 440) <= 1
    middle = out[2000:14_000]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(12_000 / 32_768, rel=0.02)


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100])
def test_pieces_make_no_difference(rate: int) -> None:
    data = tone(rate, 0.5)
    whole = PcmReader(rate)
    expected = np.concatenate([whole.push(data), whole.flush()])
    for seed in range(5):
        reader = PcmReader(rate)
        parts = [reader.push(piece) for piece in pieces(data, seed)]
        np.testing.assert_allclose(np.concatenate([*parts, reader.flush()]), expected, atol=1 / 16_384)


def test_it_holds_little_back() -> None:
    reader = PcmReader(24_000)
    got = sum(reader.push(tone(24_000, 0.02)).size for _ in range(50))
    assert SAMPLE_RATE - 64 <= got <= SAMPLE_RATE


def test_above_8_khz_nothing_folds_back() -> None:
    reader = PcmReader(48_000)
    out = np.concatenate([reader.push(tone(48_000, 0.5, 11_000)), reader.flush()])
    assert np.sqrt(np.mean(out[1000:-1000] ** 2)) < 0.003


def test_utterances_do_not_leak_into_each_other() -> None:
    reader = PcmReader(24_000)
    reader.push(tone(24_000, 0.3) + b"\x7f")
    reader.flush()
    silence = np.concatenate([reader.push(bytes(4800)), reader.flush()])
    assert silence.size == 1600
    assert not silence.any()


def test_nothing_in_nothing_out() -> None:
    for rate in (16_000, 24_000):
        reader = PcmReader(rate)
        assert reader.push(b"").size == reader.push(b"\x01").size == reader.flush().size == 0
