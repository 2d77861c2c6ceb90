"""Step 3, noise: found by the distance between loud and quiet, removed by spectral gating (noisereduce)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, Samples
from training.preprocess.limits import Limits
from training.preprocess.rates import Sound

BLOCK_SECONDS = 60
"""Noise is judged and removed in blocks of this length."""

_FRAME = SAMPLE_RATE // 50
_PAD = SAMPLE_RATE  # heard on both sides of a block, so that blocks join without a seam
_NOISE = SAMPLE_RATE // 2  # length of the quietest stretch, from which the noise is learnt
_SILENT_DB = -55.0
_SHARE = 0.95  # of the noise that is taken away


@dataclass(frozen=True, slots=True)
class NoiseFinding:
    """Of one block: its first sample, loud over quiet in dB before and after, None where it was clean."""

    start: int
    snr_db: float
    cleaned_db: float | None


def snr_db(samples: Samples) -> float:
    """Loud (90th percentile) over quiet (10th) frames of 20 ms in dB; 100 for what is silent throughout."""
    levels = _levels(samples)
    if levels.size == 0 or np.percentile(levels, 90) < _SILENT_DB:
        return 100.0
    return round(float(np.percentile(levels, 90) - np.percentile(levels, 10)), 1)


def remove_noise(samples: Samples, learn_from: Samples | None = None) -> Samples:
    """`samples` with their steady noise taken away; the noise is learnt from the quietest half second of
    `learn_from` (default: of themselves).
    """
    import noisereduce

    heard = samples if learn_from is None else learn_from
    starts = range(0, max(heard.size - _NOISE, 0) + 1, _NOISE // 4)
    quietest = starts[int(np.argmin([_power(heard[start : start + _NOISE]) for start in starts]))]
    cleaned = noisereduce.reduce_noise(
        samples,
        SAMPLE_RATE,
        stationary=True,
        y_noise=heard[quietest : quietest + _NOISE],
        prop_decrease=_SHARE,
    )
    return np.asarray(cleaned, np.float32)


def clean(sound: Sound, limits: Limits) -> list[NoiseFinding]:
    """Removes noise from `sound` in place wherever a block is noisy; what was found, block by block."""
    findings = []
    block = BLOCK_SECONDS * SAMPLE_RATE
    before: Samples = np.zeros(0, np.float32)
    for start in range(0, sound.size, block):
        samples = sound.read(start, block)
        found = snr_db(samples)
        cleaned_db = None
        if found < limits.min_snr_db and samples.size > 2 * _NOISE:
            heard = np.concatenate([before, samples, sound.read(start + block, _PAD)])
            # The neighbours may be quieter than this block, so they do not tell its noise.
            cleaned = remove_noise(heard, samples)[before.size : before.size + samples.size]
            cleaned_db = snr_db(cleaned)
            sound.write(start, cleaned)
        before = samples[-_PAD:]
        findings.append(NoiseFinding(start, found, cleaned_db))
    return findings


def _power(samples: Samples) -> float:
    """Mean power; infinite where part of it is digital silence, which tells nothing of the noise."""
    if _levels(samples).size < samples.size // _FRAME:
        return float("inf")
    return float(np.square(samples, dtype=np.float64).mean())


def _levels(samples: Samples) -> NDArray[np.float64]:
    """Level of each 20 ms in dB full scale, (n,); digital silence, which no microphone gives, left out."""
    frames = samples[: samples.size // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    levels: NDArray[np.float64] = 10 * np.log10(power[power > 1e-10])
    return levels
