"""A mouth against the voice in its own video."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.evaluate.lips import aperture, shifted
from engine.evaluate.mouth import apertures
from engine.evaluate.track import NewTracker, Track
from engine.speech.audio import SAMPLES_PER_TICK, Samples, load_speech

MIN_PAUSE_TICKS = 5
"""Fewer silent pictures than this say nothing about a mouth at rest."""

_PAUSE_DB = 30.0  # below the loud parts of the same recording
_LEAD, _TRAIL = 3, 4  # ticks: lips open before a sound and are still closing after it


@dataclass(frozen=True, slots=True)
class VoiceScore:
    """How a mouth goes with the voice in its own video, no truth at hand.

    `aperture_loudness_r`: best correlation within two frames of each other; `aperture_voiced` and
    `aperture_silent`: mean inner-lip distance over face height in the loudest half and the quietest fifth.
    """

    aperture_loudness_r: float
    aperture_voiced: float
    aperture_silent: float


def follow_voice(video: Path, new_tracker: NewTracker) -> VoiceScore:
    """Judge a talking video by its own sound; raises BadMediaError and NoFaceError as `apertures` does."""
    opened = np.array(apertures(video, new_tracker))
    level = _levels(load_speech(video))[: opened.size]
    loudness = np.convolve(level, np.ones(3) / 3, mode="same")
    opened = opened[: level.size]
    fits = [shifted(opened.tolist(), loudness.tolist(), lag) for lag in range(-2, 3)]
    voiced, silent = loudness >= np.median(loudness), loudness <= np.percentile(loudness, 20)
    return VoiceScore(
        round(max(fits), 3), round(float(opened[voiced].mean()), 4), round(float(opened[silent].mean()), 4)
    )


def pauses(samples: Samples) -> NDArray[np.bool_]:
    """For each tick of a recording whether a mouth should rest.

    So when the sound from 160 ms before it to 120 ms after it stays 30 dB below the recording's loud parts
    (95th percentile); by level alone, not by the gate that the live engine itself closes the mouth with.
    """
    level = 20 * np.log10(_levels(samples) + 1e-9)
    quiet = level < max(np.percentile(level, 95) - _PAUSE_DB, -90.0)
    loud = np.pad(~quiet, (_TRAIL, _LEAD))
    near = np.lib.stride_tricks.sliding_window_view(loud, _LEAD + 1 + _TRAIL)
    return np.asarray(~near.any(axis=1))


def pause_aperture(lips: Track, samples: Samples) -> float | None:
    """Mean inner-lip distance over face height in the pauses; None when these are under MIN_PAUSE_TICKS."""
    opened = [
        aperture(face)
        for face, quiet in zip(lips.faces, pauses(samples), strict=False)
        if quiet and face is not None
    ]
    return float(np.mean(opened)) if len(opened) >= MIN_PAUSE_TICKS else None


def _levels(samples: Samples) -> NDArray[np.float64]:
    """Root mean square of each whole tick."""
    ticks = samples[: samples.size // SAMPLES_PER_TICK * SAMPLES_PER_TICK].reshape(-1, SAMPLES_PER_TICK)
    return np.asarray(np.sqrt(np.mean(ticks.astype(np.float64) ** 2, axis=1)))
