"""Windows of log-mel and the mouth codes they should give."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.paths import cache_folder
from engine.speech import mel
from engine.speech.audio import FRAME_RATE, SAMPLES_PER_TICK, Samples, load_speech
from training.augment import at_speed, degrade
from training.studio.phones import PhoneAligner, align_cached
from training.studio.visemes import CURVE_RATE, viseme_curves

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """Speech at 16 kHz and its mouth curves (steps, CODE) at CURVE_RATE."""

    name: str
    samples: Samples
    curves: Floats


def read_recordings(files: Sequence[Path]) -> list[Recording]:
    """Loads and aligns `files`; those that cannot be aligned are left out."""
    aligner = PhoneAligner()
    recordings = []
    for path in files:
        samples = load_speech(path)
        phones = align_cached(samples, cache_folder() / "phones", aligner)
        if phones:
            recordings.append(Recording(path.name, samples, viseme_curves(phones, samples)))
    return recordings


def codes_at(curves: Floats, ticks: int, *, delay_s: float = 0.0, rate: float = 1.0) -> Floats:
    """Codes (ticks, CODE) in the middle of each tick, of sound `rate` times as fast after `delay_s`."""
    times = ((np.arange(ticks) + 0.5) / FRAME_RATE - delay_s) * rate * CURVE_RATE
    steps = np.arange(len(curves))
    columns = [np.interp(times, steps, curves[:, c], left=0.0, right=0.0) for c in range(curves.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def windows_of(samples: Samples) -> Floats:
    """Log-mel windows (ticks, 80, 16) of every whole tick."""
    spectrogram = mel.log_mel(samples)
    ticks = samples.size // SAMPLES_PER_TICK
    return np.stack([mel.window(spectrogram, tick) for tick in range(ticks)])


def augmented(recording: Recording, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Windows and codes of one recording through a random throat, room and microphone."""
    rate = float(random.uniform(0.87, 1.15))
    delay = int(random.integers(0, 4 * SAMPLES_PER_TICK))
    tail = int(random.integers(0, 12 * SAMPLES_PER_TICK))
    sound = np.concatenate(
        [np.zeros(delay, np.float32), at_speed(recording.samples, rate), np.zeros(tail, np.float32)]
    )
    # Half of the pauses are digital silence, as the closed voice gate makes them.
    noisy = degrade(sound, random)
    if random.random() < 0.5:
        noisy[:delay] = 0
        noisy[noisy.size - tail :] = 0
    windows = windows_of(noisy)
    return windows, codes_at(recording.curves, len(windows), delay_s=delay / 16_000, rate=rate)


def batches(
    recordings: Sequence[Recording], random: np.random.Generator, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless shuffled batches: mel (size, 1, 80, 16) and code (size, CODE)."""
    group = 24
    while True:
        order = random.permutation(len(recordings))
        for start in range(0, len(order), group):
            parts = [augmented(recordings[i], random) for i in order[start : start + group]]
            while sum(len(part[0]) for part in parts) < size:  # little speech: hear it several times
                parts.append(augmented(recordings[int(random.integers(len(recordings)))], random))
            windows = np.concatenate([part[0] for part in parts])
            codes = np.concatenate([part[1] for part in parts])
            shuffled = random.permutation(len(windows))
            for at in range(0, len(shuffled) - size + 1, size):
                chosen = shuffled[at : at + size]
                yield torch.from_numpy(windows[chosen][:, None]), torch.from_numpy(codes[chosen])
