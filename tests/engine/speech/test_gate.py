"""The voice gate: open for speech, shut for the room."""

from pathlib import Path

import numpy as np
import pytest

from engine.speech.audio import load_speech
from engine.speech.gate import GATE_FRAME, VoiceGate
from tests.fakes import room_noise, speech_like


def test_opens_within_60_ms_of_speech_and_closes_after_it() -> None:
    before, speech, after = room_noise(1.0), speech_like(1.0), room_noise(1.0)
    flags = VoiceGate().push(np.concatenate([before, speech + room_noise(1.0, seed=1), after]))
    onset, end = 50, 100
    assert not any(flags[:onset])
    assert flags.index(True) - onset <= 3
    assert all(flags[onset + 3 : end])
    closing = flags.index(False, end) - end
    assert 5 <= closing <= 11
    assert not any(flags[end + closing :])


@pytest.mark.parametrize("level", [0.0, 0.0005, 0.003])
def test_keeps_shut_on_room_noise(level: float) -> None:
    assert not any(VoiceGate().push(room_noise(5.0, level)))


def test_learns_a_loud_room() -> None:
    flags = VoiceGate().push(room_noise(6.0, 0.03))
    assert not any(flags[100:])


def test_speech_opens_it_in_a_loud_room() -> None:
    noise = room_noise(4.0, 0.01)
    speech = np.concatenate([np.zeros(32000, np.float32), speech_like(2.0)])
    flags = VoiceGate().push(noise + speech)
    assert any(flags[100:105])


def test_pieces_of_any_length_decide_alike() -> None:
    samples = np.concatenate([room_noise(0.5), speech_like(0.5), room_noise(0.5)])
    whole = VoiceGate().push(samples)
    gate = VoiceGate()
    pieces = [gate.push(samples[k : k + 137]) for k in range(0, samples.size, 137)]
    assert [flag for piece in pieces for flag in piece] == whole
    assert len(whole) == samples.size // GATE_FRAME


def test_real_speech_opens_it_at_its_first_word(data_folder: Path) -> None:
    samples = load_speech(data_folder / "speech" / "en" / "librispeech-103-1240-0000.flac")[:64000]
    flags = VoiceGate().push(samples)
    assert 22 <= flags.index(True) <= 27
    assert sum(flags) > len(flags) * 0.5
