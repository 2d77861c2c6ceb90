"""Noise is found where it is, and taken away without the voice."""

from pathlib import Path

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16
from tests.fakes import room_noise
from tests.training.preprocess.footage import syllables, voice
from training.preprocess import denoise
from training.preprocess.denoise import clean, remove_noise, snr_db
from training.preprocess.limits import Limits
from training.preprocess.rates import Sound


def speech(seconds: float = 6.0) -> Samples:
    """Sentences with pauses between them."""
    curve = syllables(round(seconds * 25))
    rest = (np.arange(curve.size) // 25) % 3 == 2
    samples = voice(curve).copy()
    samples[np.repeat(rest, 640)] *= 0.003
    return samples


def hiss(seconds: float, level: float) -> Samples:
    return np.random.default_rng(3).normal(0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def alike(one: Samples, other: Samples) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def on_disk(tmp_path: Path, samples: Samples) -> Sound:
    path = tmp_path / "sound.s16"
    path.write_bytes(to_pcm16(samples).tobytes())
    return Sound(path)


def test_noise_lowers_the_ratio() -> None:
    found = [snr_db(speech() + hiss(6, level)) for level in (0.0005, 0.005, 0.03)]
    assert found[0] > found[1] > found[2]
    assert found[0] > Limits().min_snr_db > found[2]


def test_silence_is_not_noise() -> None:
    assert snr_db(np.zeros(SAMPLE_RATE, np.float32)) == 100
    assert snr_db(np.zeros(0, np.float32)) == 100
    assert snr_db(room_noise(2, 0.0005)) == 100


def test_noise_goes_and_the_voice_stays() -> None:
    clear = speech()
    noisy = clear + hiss(6, 0.02)
    cleaned = remove_noise(noisy)
    assert cleaned.shape == noisy.shape
    before, after = noisy - clear, cleaned - clear
    assert np.square(after).sum() < 0.8 * np.square(before).sum()
    rest = slice(int(2.2 * SAMPLE_RATE), int(2.8 * SAMPLE_RATE))
    assert np.square(cleaned[rest]).mean() < 0.05 * np.square(noisy[rest]).mean()
    assert alike(cleaned, clear) > max(0.9, alike(noisy, clear))


def test_clean_sound_is_left_to_the_last_bit(tmp_path: Path) -> None:
    sound = on_disk(tmp_path, speech())
    before = sound.path.read_bytes()
    findings = clean(sound, Limits())
    assert sound.path.read_bytes() == before
    assert [finding.cleaned_db for finding in findings] == [None]


def test_only_noisy_blocks_are_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoise, "BLOCK_SECONDS", 6)
    quiet, noisy = speech(), speech() + hiss(6, 0.03)
    sound = on_disk(tmp_path, np.concatenate([quiet, noisy, quiet[: SAMPLE_RATE // 4]]))
    findings = clean(sound, Limits())
    assert [finding.start for finding in findings] == [0, 6 * SAMPLE_RATE, 12 * SAMPLE_RATE]
    assert findings[0].cleaned_db is None
    assert findings[1].cleaned_db is not None
    assert findings[1].cleaned_db > findings[1].snr_db + 6
    np.testing.assert_allclose(sound.read(0, quiet.size), quiet, atol=1e-4)
    after = sound.read(quiet.size, noisy.size)
    assert sound.size == quiet.size + noisy.size + SAMPLE_RATE // 4
    assert alike(after, quiet) > max(0.85, alike(noisy, quiet))
    assert np.square(after - quiet).sum() < 0.8 * np.square(noisy - quiet).sum()


def test_digital_silence_does_not_teach_the_noise() -> None:
    clear = speech()
    noisy = clear + hiss(6, 0.02)
    with_gap = noisy.copy()
    with_gap[:SAMPLE_RATE] = 0
    cleaned = remove_noise(with_gap)
    rest = slice(int(2.2 * SAMPLE_RATE), int(2.8 * SAMPLE_RATE))
    assert np.square(cleaned[rest]).mean() < 0.05 * np.square(noisy[rest]).mean()
