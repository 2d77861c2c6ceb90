"""What the presenter does while speaking: mouth from the phones, head, eyes and breath from chance.

All motion is smooth and seeded, so that a shot is the same in every run and resumes where it stopped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.studio.renderer import FrameSpec
from training.studio.visemes import VISEMES

Floats = NDArray[np.float32]

_BLINK = np.array([0.35, 0.9, 1.0, 0.75, 0.35, 0.1], np.float32)
_GAIN = {"AE_AA": 0.62, "AO_a": 0.75, "Ax_E": 0.8, "H_EST": 0.75, "TD_I": 0.75}
"""The characters' shapes at full weight are stage acting; these bring them to conversation."""


@dataclass(frozen=True, slots=True)
class Performance:
    """One take at 25 pictures a second.

    mouth: (n, len(VISEMES)) in [0, 1]; head: (n, 3) pitch, yaw, roll in radians; blink and breath: (n,).
    """

    mouth: Floats
    head: Floats
    blink: Floats
    breath: Floats

    def __len__(self) -> int:
        return len(self.mouth)

    def spec(self, index: int, *, speaking: bool = True) -> FrameSpec:
        """The picture at `index`; with speaking=False its idle twin: same pose, mouth at rest."""
        pitch, yaw, roll = (float(angle) for angle in self.head[index])
        lift = float(self.breath[index])
        return FrameSpec(
            bones={
                "Head": (0.65 * pitch, 0.65 * yaw, 0.65 * roll),
                "Neck": (0.35 * pitch, 0.35 * yaw, 0.35 * roll),
                "Spine2": (-0.006 * lift, 0.0, 0.0),
            },
            visemes=mouth_weights(self.mouth[index]) if speaking else {},
            face={"LeyeClose": float(self.blink[index]), "ReyeClose": float(self.blink[index])},
        )


def mouth_weights(code: Floats) -> dict[str, float]:
    """Morph weights of a viseme code."""
    return {name: float(value) * _GAIN.get(name, 1.0) for name, value in zip(VISEMES, code, strict=True)}


def perform(mouth: Floats, seed: int, *, sway: float = 1.0) -> Performance:
    """A take around the given mouth: small head motion, blinks every few seconds, breath."""
    frames = len(mouth)
    random = np.random.default_rng(seed)
    head = np.stack([_drift(frames, random) for _ in range(3)], axis=1)
    head *= np.radians(np.array([2.6, 3.6, 1.8], np.float32)) * sway
    return Performance(mouth, head.astype(np.float32), _blinks(frames, random), _breath(frames))


def idle_loop(frames: int, seed: int) -> Performance:
    """A take with a closed mouth whose last picture leads into its first: all motion is periodic."""
    random = np.random.default_rng(seed)
    phase = 2 * np.pi * np.arange(frames) / frames
    head = np.stack([_periodic(phase, random) for _ in range(3)], axis=1)
    head *= np.radians(np.array([1.6, 2.4, 1.1], np.float32))
    breaths = max(1, round(frames / 25 / 4))
    blink = np.zeros(frames, np.float32)
    for start in np.linspace(0.18, 0.86, max(2, round(frames / 95))) * frames:
        _add_blink(blink, int(start + random.integers(-12, 12)))
    mouth = np.zeros((frames, len(VISEMES)), np.float32)
    return Performance(mouth, head.astype(np.float32), blink, np.sin(breaths * phase).astype(np.float32))


def _drift(frames: int, random: np.random.Generator) -> Floats:
    time = np.arange(frames) / 25
    waves = [
        weight * np.sin(2 * np.pi * (rate * random.uniform(0.8, 1.2)) * time + random.uniform(0, 2 * np.pi))
        for weight, rate in ((0.6, 0.11), (0.35, 0.27), (0.2, 0.55))
    ]
    motion: Floats = np.sum(waves, axis=0).astype(np.float32)
    return motion


def _periodic(phase: NDArray[np.float64], random: np.random.Generator) -> Floats:
    waves = [
        weight * np.sin(turns * phase + random.uniform(0, 2 * np.pi))
        for weight, turns in ((0.6, 1), (0.35, 3), (0.15, 5))
    ]
    motion: Floats = np.sum(waves, axis=0).astype(np.float32)
    return motion


def _breath(frames: int) -> Floats:
    return np.sin(2 * np.pi * 0.25 * np.arange(frames) / 25).astype(np.float32)


def _blinks(frames: int, random: np.random.Generator) -> Floats:
    blink = np.zeros(frames, np.float32)
    at = int(random.integers(10, 80))
    while at < frames:
        _add_blink(blink, at)
        at += int(random.integers(50, 140))
    return blink


def _add_blink(blink: Floats, start: int) -> None:
    part = blink[start : start + len(_BLINK)]
    part[:] = np.maximum(part, _BLINK[: len(part)])
