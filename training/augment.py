"""Makes clean speech sound like a cheap microphone in a real room."""

import numpy as np
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, Samples

Random = np.random.Generator


def degrade(samples: Samples, random: Random) -> Samples:
    """One random recording chain: room, equaliser, noise, gain, clipping; same length, in [-1, 1]."""
    sound = samples
    if random.random() < 0.4:
        sound = reverberate(sound, random)
    if random.random() < 0.6:
        sound = equalise(sound, random)
    if random.random() < 0.6:
        sound = add_noise(sound, random, snr_db=float(random.uniform(8, 35)))
    if random.random() < 0.85:
        sound = at_level(sound, float(random.uniform(-38, -14)))
    return np.clip(sound, -1, 1).astype(np.float32)


def at_level(samples: Samples, decibel: float) -> Samples:
    """Scaled so that its root mean square is `decibel` below full scale."""
    rms = float(np.sqrt(np.mean(samples**2)) + 1e-9)
    return (samples * (10 ** (decibel / 20) / rms)).astype(np.float32)


def add_noise(samples: Samples, random: Random, snr_db: float) -> Samples:
    """White to brown noise at a signal-to-noise ratio over the whole signal."""
    spectrum = np.fft.rfft(random.standard_normal(samples.size))
    tilt = random.uniform(0, 1.0)
    spectrum /= np.maximum(np.arange(spectrum.size), 1) ** tilt
    noise = np.fft.irfft(spectrum, samples.size)
    power = float(np.mean(samples**2)) + 1e-12
    noise *= np.sqrt(power / 10 ** (snr_db / 10) / (float(np.mean(noise**2)) + 1e-12))
    return (samples + noise).astype(np.float32)


def equalise(samples: Samples, random: Random) -> Samples:
    """Band limits of telephones and headsets, and a tilt of a few decibels an octave."""
    hertz = np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE)
    octaves = np.log2(np.maximum(hertz, 50) / 1000)
    gain = 10 ** (random.uniform(-3, 3) * octaves / 20)
    low, high = random.uniform(40, 280), random.uniform(3200, 9000)
    gain = gain / (1 + (low / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high) ** 8)
    return _filtered(samples, gain)


def reverberate(samples: Samples, random: Random) -> Samples:
    """A small room: the direct sound and an exponentially decaying tail (0.1 to 0.5 s)."""
    seconds = random.uniform(0.1, 0.5)
    size = round(seconds * SAMPLE_RATE)
    tail = random.standard_normal(size) * np.exp(-6.9 * np.arange(size) / size)
    tail *= random.uniform(0.1, 0.45) / np.sqrt(np.sum(tail**2))
    tail[0] += 1.0
    total = samples.size + size
    wet = np.fft.irfft(np.fft.rfft(samples, total) * np.fft.rfft(tail, total), total)
    return wet[: samples.size].astype(np.float32)


def at_speed(samples: Samples, rate: float) -> Samples:
    """Played `rate` times as fast, pitch and formants moving along: another speaker's throat."""
    positions = np.arange(0, samples.size - 1, rate)
    played: Samples = np.interp(positions, np.arange(samples.size), samples).astype(np.float32)
    return played


def _filtered(samples: Samples, gain: NDArray[np.float64]) -> Samples:
    filtered: Samples = np.fft.irfft(np.fft.rfft(samples) * gain, samples.size).astype(np.float32)
    return filtered
