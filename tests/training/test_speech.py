from pathlib import Path

import numpy as np
import pytest
import torch

from engine.speech import espeak, mel
from training.augment import add_noise, at_level, at_speed, degrade, equalise, reverberate
from training.models.audio import CodeEar
from training.models.presets import preset
from training.speech_data import Recording, augmented, batches, codes_at, windows_of
from training.split import is_held_out_character, is_held_out_speaker, speaker_of
from training.studio.phones import Phone
from training.studio.visemes import VISEMES, viseme_curves
from training.train_ear import SPREAD, code_loss, score_ear, train_ear


@pytest.fixture(scope="module")
def recording() -> Recording:
    spoken = espeak.speak("My baby moves back home. Papa came by boat.", "en-us")
    phones = [Phone(p.label, p.start, p.end) for p in spoken.phonemes]
    return Recording("test", spoken.samples, viseme_curves(phones, spoken.samples))


@pytest.mark.parametrize("decibel", [-40.0, -10.0])
def test_level(decibel: float) -> None:
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32)
    assert 20 * np.log10(at_level(tone, decibel).std()) == pytest.approx(decibel, abs=0.1)


def test_noise_has_the_ratio_asked_for() -> None:
    tone = np.sin(np.arange(16_000) / 5).astype(np.float32)
    noise = add_noise(tone, np.random.default_rng(0), 20.0) - tone
    assert 10 * np.log10(np.mean(tone**2) / np.mean(noise**2)) == pytest.approx(20, abs=0.1)


def test_a_telephone_loses_the_highs() -> None:
    hiss = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    random = np.random.default_rng(3)
    shares = []
    for _ in range(20):
        spectrum = np.abs(np.fft.rfft(equalise(hiss, random))) ** 2
        shares.append(spectrum[12_000:].sum() / spectrum.sum())
    assert min(shares) < 0.02
    assert max(shares) > 0.1


def test_a_room_keeps_the_timing() -> None:
    click = np.zeros(16_000, np.float32)
    click[4000] = 1
    wet = reverberate(click, np.random.default_rng(1))
    assert wet.argmax() == 4000
    assert np.abs(wet[:3990]).max() < 1e-5
    assert np.abs(wet[4100:6000]).max() > 1e-3


def test_speed_shortens() -> None:
    assert at_speed(np.zeros(16_000, np.float32), 1.25).size == pytest.approx(12_800, abs=2)


def test_degraded_speech_stays_in_range_and_in_place(recording: Recording) -> None:
    for seed in range(8):
        out = degrade(recording.samples, np.random.default_rng(seed))
        assert out.shape == recording.samples.shape
        assert np.abs(out).max() <= 1


def test_windows_are_those_of_the_live_engine(recording: Recording) -> None:
    windows = windows_of(recording.samples)
    np.testing.assert_array_equal(windows[7], mel.window(mel.log_mel(recording.samples), 7))


def test_codes_move_with_delay_and_speed(recording: Recording) -> None:
    plain = codes_at(recording.curves, 40)
    np.testing.assert_allclose(codes_at(recording.curves, 42, delay_s=0.08)[2:], plain, atol=1e-6)
    fast = codes_at(recording.curves, 20, rate=2.0)
    np.testing.assert_allclose(fast[3], recording.curves[28], atol=1e-6)


def test_augmented_sound_and_codes_have_the_same_length(recording: Recording) -> None:
    windows, codes = augmented(recording, np.random.default_rng(5))
    assert len(windows) == len(codes)
    assert windows.shape[1:] == (80, 16)
    assert codes.max() > 0.5


def test_batches_are_endless(recording: Recording) -> None:
    source = batches([recording], np.random.default_rng(0), 16)
    for _ in range(8):
        mels, codes = next(source)
        assert mels.shape == (16, 1, 80, 16)
        assert codes.shape == (16, len(VISEMES))


def test_a_missed_closure_costs_more_than_its_rarity() -> None:
    truth = torch.zeros(1, len(VISEMES))
    costs = {}
    for name in ("MPB", "AO_a"):
        missed = truth.clone()
        missed[0, VISEMES.index(name)] = 1
        costs[name] = code_loss(truth, missed).item() * (SPREAD[VISEMES.index(name)].item() ** 2 + 0.003)
    assert costs["MPB"] == pytest.approx(2 * costs["AO_a"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")
def test_an_ear_learns_one_sentence_and_resumes(recording: Recording, tmp_path: Path) -> None:
    told: list[float] = []
    plan = preset("lite192")
    windows = windows_of(recording.samples)
    mels, truth = (
        torch.from_numpy(windows[:, None]),
        torch.from_numpy(codes_at(recording.curves, len(windows))),
    )

    def cost(ear: torch.nn.Module) -> float:
        with torch.no_grad():
            return code_loss(ear.eval()(mels), truth).item()

    torch.manual_seed(0)
    untrained = cost(CodeEar(plan.ear))
    ear = train_ear(plan, [recording], tmp_path, minutes=0.6, report=lambda share, _: told.append(share))
    assert cost(ear) < 0.7 * untrained
    assert not np.isnan(score_ear(ear, [recording]).mean)
    steps = len(told)
    train_ear(plan, [recording], tmp_path, minutes=0.6, report=lambda share, _: told.append(share))
    assert len(told) == steps


def test_speakers_are_split_by_name() -> None:
    assert speaker_of(Path("librispeech-103-1240-0000.flac")) == "103"
    one, two = Path("librispeech-103-1240-0000.flac"), Path("librispeech-103-9-0001.flac")
    assert is_held_out_speaker(one) == is_held_out_speaker(two)
    names = [Path(f"librispeech-{n}-1-0000.flac") for n in range(1000)]
    assert 60 < sum(map(is_held_out_speaker, names)) < 150


def test_two_characters_are_kept_out() -> None:
    assert is_held_out_character(Path("x/Asian_M_3_Busi.glb"))
    assert not is_held_out_character(Path("x/White_F_1_Busi.glb"))
