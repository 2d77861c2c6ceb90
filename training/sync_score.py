"""How far sound and mouth are apart: the discriminator slid over a clip.

Five pictures at a time are compared with every piece of sound from MAX_OFFSET ticks before to as many after;
the mean over two seconds tells the offset (as SyncNet does; Chung and Zisserman, 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.errors import BadMediaError
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from engine.speech.mel import log_mel
from training import checkpoint
from training.clip_data import sync_window
from training.models.discriminator import FRAMES, Discriminator, crop_side, stack_frames
from training.models.presets import preset

MAX_OFFSET = 15
"""Ticks to either side that are tried: 0.6 s."""

WINDOW = 50
"""Pictures of the 2-second windows that each have an offset of their own."""

_HOP = 12
_BATCH = 64
SHIPPED = Path(__file__).parent / "weights" / "sync.safetensors"
"""The discriminator that comes with Koubo."""


@dataclass(frozen=True, slots=True)
class SyncFinding:
    """offset: ticks by which the sound comes after the picture it belongs to (picture i goes with sound tick
    i + offset; negative: sound early). confidence: best minus median similarity over offsets. distance: 1
    minus best similarity. steady: share of 2-second windows whose own offset is within one tick of `offset`.
    windows: those offsets; window_confidence: how sure each is.
    """

    offset: int
    confidence: float
    distance: float
    steady: float
    windows: list[int]
    window_confidence: list[float] = field(default_factory=list)


class SyncJudge(Protocol):
    """Tells by how much sound and mouth are apart."""

    @property
    def size(self) -> int:
        """Side of the square crops it wants."""
        ...

    def judge(self, pictures: Sequence[Picture], samples: Samples) -> SyncFinding:
        """`pictures`: RGB uint8 (size, size, 3) house crops, 25 a second; `samples` start with picture 0."""
        ...


class DiscriminatorJudge:
    """SyncJudge by a trained discriminator."""

    def __init__(self, checkpoint_file: Path) -> None:
        """Raises KouboError when the checkpoint is missing, damaged or holds no discriminator."""
        plan = preset(checkpoint.read_state(checkpoint_file)["preset"])
        self._network = Discriminator(plan)
        checkpoint.load_trained(checkpoint_file, {"discriminator": self._network})
        self._network.eval()
        self._plan = plan

    @property
    def size(self) -> int:
        """Side of the square crops it wants."""
        return crop_side(self._plan.size)

    def judge(self, pictures: Sequence[Picture], samples: Samples) -> SyncFinding:
        """The offset of a clip. Raises BadMediaError when it is shorter than five pictures."""
        return finding(self.similarity(pictures, samples))

    def similarity(self, pictures: Sequence[Picture], samples: Samples) -> NDArray[np.float32]:
        """(pictures - 4, 2 * MAX_OFFSET + 1) P_sync for each start and offset; NaN beyond the sound."""
        starts = len(pictures) - FRAMES + 1
        if starts < 1:
            raise BadMediaError(
                f"{len(pictures)} pictures are too few to judge sync; give at least {FRAMES}."
            )
        seen = self._see(pictures, starts)
        spectrogram = log_mel(samples)
        ticks = samples.size // SAMPLES_PER_TICK - FRAMES + 1
        mels = np.stack([sync_window(spectrogram, tick) for tick in range(max(1, ticks))])[:, None]
        with torch.no_grad():
            heard = self._network.hear(torch.from_numpy(mels)).numpy()
        found = np.full((starts, 2 * MAX_OFFSET + 1), np.nan, np.float32)
        for column in range(found.shape[1]):
            ticks_of = np.arange(starts) + column - MAX_OFFSET
            inside = (ticks_of >= 0) & (ticks_of < len(heard))
            found[inside, column] = np.sum(seen[inside] * heard[ticks_of[inside]], axis=1)
        return found

    def _see(self, pictures: Sequence[Picture], starts: int) -> NDArray[np.float32]:
        rows = []
        for at in range(0, starts, _BATCH):
            part = np.stack(pictures[at : min(at + _BATCH, starts) + FRAMES - 1]).transpose(0, 3, 1, 2)
            tensor = torch.from_numpy(np.ascontiguousarray(part)).float() / 127.5 - 1
            fives = tensor.unfold(0, FRAMES, 1).permute(0, 4, 1, 2, 3)
            with torch.no_grad():
                rows.append(self._network.see(stack_frames(fives, self._plan.size)).numpy())
        return np.concatenate(rows)


def finding(similarity: NDArray[np.float32]) -> SyncFinding:
    """What (starts, offsets) of P_sync say."""
    offset, best, confidence = _peak(similarity)
    last = max(1, len(similarity) - (WINDOW - FRAMES))
    peaks = [_peak(similarity[at : at + WINDOW - FRAMES + 1]) for at in range(0, last, _HOP)]
    return SyncFinding(
        offset=offset,
        confidence=confidence,
        distance=round(1 - best, 4),
        steady=round(float(np.mean([abs(own - offset) <= 1 for own, _, _ in peaks])), 3),
        windows=[own for own, _, _ in peaks],
        window_confidence=[sure for _, _, sure in peaks],
    )


def _peak(similarity: NDArray[np.float32]) -> tuple[int, float, float]:
    """Offset, best similarity and confidence of a stretch."""
    curve = _mean(similarity)
    best = int(np.argmax(curve))
    return best - MAX_OFFSET, float(curve[best]), round(float(curve[best] - np.median(curve)), 4)


def _mean(similarity: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over starts for each offset; offsets that too few starts could try count as unlike."""
    tried = np.isfinite(similarity).sum(axis=0)
    total = np.nansum(similarity, axis=0, dtype=np.float64)
    enough = tried >= max(1, len(similarity) // 3)
    return np.where(enough, total / np.maximum(tried, 1), 0.0)


def shipped_judge(path: Path | None = None) -> DiscriminatorJudge:
    """The discriminator that comes with Koubo, or the checkpoint at `path`. Raises KouboError."""
    return DiscriminatorJudge(path or SHIPPED)
