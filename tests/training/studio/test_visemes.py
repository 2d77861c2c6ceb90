import numpy as np
import pytest

from engine.speech import espeak
from training.studio.phones import Phone
from training.studio.visemes import CURVE_RATE, VISEMES, sample_curves, shapes_of, viseme_curves

SECOND = np.full(16_000, 0.1, np.float32)


def column(curves: np.ndarray, name: str) -> np.ndarray:
    return curves[:, VISEMES.index(name)]


def test_silence_keeps_the_mouth_closed() -> None:
    curves = viseme_curves([Phone("SIL", 0, 1)], np.zeros(16_000, np.float32))
    assert curves.shape == (CURVE_RATE, len(VISEMES))
    assert curves.max() == 0


@pytest.mark.parametrize("consonant", ["P", "B", "M"])
@pytest.mark.parametrize("length", [0.03, 0.08])
def test_lips_meet_on_labials_however_short(consonant: str, length: float) -> None:
    phones = [Phone("AA", 0.1, 0.5), Phone(consonant, 0.5, 0.5 + length), Phone("AA", 0.5 + length, 0.9)]
    curves = viseme_curves(phones, SECOND)
    middle = round((0.5 + length / 2) * CURVE_RATE)
    assert column(curves, "MPB")[middle] == pytest.approx(1)
    assert curves[middle].sum() == pytest.approx(1, abs=1e-6)
    assert column(curves, "AE_AA")[30] > 0.5


def test_lip_touches_teeth_on_f() -> None:
    curves = viseme_curves([Phone("AA", 0.1, 0.5), Phone("F", 0.5, 0.6), Phone("AA", 0.6, 0.9)], SECOND)
    assert column(curves, "FV")[55] == pytest.approx(1)
    assert column(curves, "AE_AA")[55] < 0.2


def test_neighbours_overlap_without_a_jump() -> None:
    curves = viseme_curves([Phone("AA", 0.2, 0.5), Phone("UW", 0.5, 0.8)], SECOND)
    assert column(curves, "UW_U")[47] > 0.05
    assert np.abs(np.diff(curves, axis=0)).max() < 0.35


def test_soft_speech_opens_less() -> None:
    loud_then_soft = np.concatenate([SECOND[:8000], SECOND[8000:] * 0.03])
    curves = viseme_curves([Phone("AA", 0.1, 0.4), Phone("AA", 0.6, 0.9)], loud_then_soft)
    openness = column(curves, "AE_AA")
    assert openness[75] < 0.8 * openness[25]


def test_diphthong_moves_from_one_shape_to_the_other() -> None:
    curves = viseme_curves([Phone("AW", 0.3, 0.7)], SECOND)
    assert column(curves, "AE_AA")[40] > column(curves, "UH_OO")[40]
    assert column(curves, "UH_OO")[62] > column(curves, "AE_AA")[62]


@pytest.mark.parametrize(
    ("label", "shape"),
    [("ˈoʊ", "AO_a"), ("m", "MPB"), ("tʃ", "SH_CH"), ("ai", "AE_AA"), ("s.", "S")],
)
def test_ipa_is_understood(label: str, shape: str | None) -> None:
    first = shapes_of(label)[0]
    assert set(first) == set() if shape is None else shape in first


def test_mandarin_of_the_bundled_voice_closes_lips_on_m() -> None:
    spoken = espeak.speak("妈妈，我们马上开始直播。", "cmn")
    phones = [Phone(p.label, p.start, p.end) for p in spoken.phonemes]
    curves = viseme_curves(phones, spoken.samples)
    labials = [p for p in phones if p.label == "m"]
    assert len(labials) >= 4
    for phone in labials:
        assert column(curves, "MPB")[round((phone.start + phone.end) / 2 * CURVE_RATE)] > 0.95


def test_pictures_are_sampled_in_the_middle_of_their_time() -> None:
    ramp = np.repeat(np.linspace(0, 0.99, 100, dtype=np.float32)[:, None], len(VISEMES), axis=1)
    sampled = sample_curves(ramp, 25)
    assert sampled.shape == (25, len(VISEMES))
    assert sampled[5, 0] == pytest.approx(0.22)
