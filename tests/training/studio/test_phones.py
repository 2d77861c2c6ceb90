import itertools
from pathlib import Path

import numpy as np
import pytest

from engine.speech import espeak
from engine.speech.audio import load_speech
from training.studio.phones import PhoneAligner, align_cached
from training.studio.visemes import CURVE_RATE, VISEMES, viseme_curves


@pytest.fixture(scope="module")
def aligner() -> PhoneAligner:
    return PhoneAligner()


def test_silence_has_no_phones(aligner: PhoneAligner) -> None:
    assert aligner.align(np.zeros(16_000, np.float32)) == []


def test_phones_follow_each_other_inside_the_sound(aligner: PhoneAligner, data_folder: Path) -> None:
    file = sorted((data_folder / "speech" / "en").glob("*.flac"))[0]
    samples = load_speech(file)
    phones = aligner.align(samples)
    assert len(phones) > 60
    assert all(a.end <= b.start + 0.011 for a, b in itertools.pairwise(phones))
    assert phones[-1].end <= samples.size / 16_000 + 0.02
    # Louder where a vowel is than where silence is.
    curves = viseme_curves(phones, samples)
    open_mouth = curves[:, VISEMES.index("AE_AA")] > 0.4
    power = samples[: len(curves) * 160].reshape(len(curves), -1).std(axis=1)
    assert power[open_mouth].mean() > 1.5 * power.mean()
    assert abs(len(curves) / CURVE_RATE - samples.size / 16_000) < 0.02


def test_alignment_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = espeak.speak("We will begin in a moment.", "en-us").samples
    first = align_cached(samples, tmp_path)
    monkeypatch.setattr(PhoneAligner, "align", lambda *_: pytest.fail("aligned again"))
    assert align_cached(samples, tmp_path) == first
    assert not list(tmp_path.glob("*.part"))
