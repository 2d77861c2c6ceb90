"""Reading sound files."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadMediaError
from engine.speech.audio import from_pcm16, load_speech, to_pcm16
from tests.fakes import speech_like, write_sound


@pytest.mark.parametrize(("suffix", "padding"), [("wav", 1), ("flac", 1), ("m4a", 380)])
def test_any_format_and_rate_becomes_16_khz_mono(tmp_path: Path, suffix: str, padding: int) -> None:
    time = np.arange(44100) / 44100
    tone = 0.4 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / f"tone.{suffix}"
    write_sound(path, np.stack([tone, tone]).astype(np.float32), 44100)
    samples = load_speech(path)
    assert samples.dtype == np.float32
    assert samples.size == pytest.approx(16000, abs=padding)
    spectrum = np.abs(np.fft.rfft(samples[1000:15000]))
    assert np.fft.rfftfreq(14000, 1 / 16000)[spectrum.argmax()] == pytest.approx(440, abs=2)
    assert np.abs(samples[2000:14000]).max() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("content", [b"", b"no sound at all, just words", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_no_sound_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "words.wav"
    path.write_bytes(content)
    with pytest.raises(BadMediaError, match=r"words\.wav") as caught:
        load_speech(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match=r"gone\.wav"):
        load_speech(tmp_path / "gone.wav")


def test_pcm_is_clipped_and_comes_back() -> None:
    assert to_pcm16(np.array([-2, -1, 0, 1, 2], np.float32)).tolist() == [-32768, -32767, 0, 32767, 32767]
    samples = speech_like(0.2)
    np.testing.assert_allclose(from_pcm16(to_pcm16(samples)), samples, atol=1e-4)
