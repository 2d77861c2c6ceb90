"""Rooms in which a loudspeaker is heard by a microphone."""

import numpy as np

from engine.speech.audio import SAMPLE_RATE, Samples


def echo_of(played: Samples, delay_s: float, gain_db: float, room_s: float, seed: int) -> Samples:
    """What comes back of a sound: delayed, louder or softer, and with a room that fades by 60 dB in `room_s`.

    Half of the power comes straight, half from the walls.
    """
    count = round(room_s * SAMPLE_RATE)
    walls = np.random.default_rng(seed).normal(size=count) * 10 ** (-3 * np.arange(count) / count)
    response = np.concatenate([[1.0], walls / np.sqrt(np.sum(walls**2))]) * np.sqrt(0.5)
    size = 1 << (played.size + response.size).bit_length()
    heard = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(response, size))
    late = np.concatenate([np.zeros(round(delay_s * SAMPLE_RATE)), heard])[: played.size]
    return np.asarray(10 ** (gain_db / 20) * late, np.float32)
