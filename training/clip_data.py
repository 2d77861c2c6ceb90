"""Clips as training batches: five pictures in a row, their sound, and sound that is not theirs.

Both the discriminator and the generator under its eyes learn from these. Pictures stay encoded in memory;
they are decoded, cut and varied while the network trains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.anchor.crop import Crop, Picture, extract, input_mask
from engine.errors import BadMediaError
from engine.speech.mel import WINDOW_LEAD_TICKS, Mel, log_mel, window
from training.augment import degrade
from training.clips import Clip, clip_folders, decode, read_clip
from training.loader import Random
from training.models.audio import CODE
from training.models.discriminator import FRAMES, stack_frames
from training.variation import Variation, draw_variation

FILMED_MASK_TOP = 0.08
"""Masked input of filmed faces shows only what is above the lower eyelids: cheeks and nose tell the mouth."""

NEAREST_WRONG = 2
"""Wrong sound is at least this many ticks off: one tick is within what a viewer forgives."""

FARTHEST_WRONG = 15

_SOUNDS = 4  # differently degraded versions of each clip's sound
_ELSEWHERE = 0.3  # share of wrong sound that comes from another clip
_MIN_TURN = 10  # frames between a filmed picture and the reference that stands in for the idle one


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """frames (n, 15, S / 2, S); mels (n, m, 1, 80, 16), the first of each the right one; code (n, 5 * CODE)
    and known (n,): the true mouth code where there is one.
    """

    frames: Tensor
    mels: Tensor
    code: Tensor
    known: Tensor


@dataclass(frozen=True, slots=True)
class TalkBatch:
    """n sequences of five: face (5n, 6, S, S), or (n, 6, S, S) where all five have the same, target and
    reference (5n, 3, S, S), mel (5n, 1, 80, 16), lips (5n, 2), code (5n, CODE), known (5n,); sync (n, m, 1,
    80, 16) with the right sound first.
    """

    face: Tensor
    target: Tensor
    reference: Tensor
    mel: Tensor
    lips: Tensor
    code: Tensor
    known: Tensor
    sync: Tensor

    @property
    def still(self) -> bool:
        """Whether one idle picture lies behind all five of each sequence."""
        return len(self.face) < len(self.target)


def read_clips(roots: Sequence[Path]) -> list[Clip]:
    """All clips below `roots` that are long enough. Raises BadMediaError when there are none."""
    clips = [clip for clip in map(read_clip, clip_folders(roots)) if clip.card.frames >= FRAMES]
    if not clips:
        raise BadMediaError(f"All clips are shorter than {FRAMES} pictures; prepare longer footage.")
    return clips


class ClipData:
    """Draws windows from clips; `size` is the side of the pictures that the network wants.

    `camera` draws how the pictures are varied (training.variation).
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        size: int,
        *,
        seed: int = 0,
        camera: Callable[[Random], Variation] | None = None,
    ) -> None:
        self._clips, self._size, self._seed = clips, size, seed
        self._camera = camera or draw_variation
        windows = np.array([clip.card.frames - FRAMES + 1 for clip in clips], np.float64)
        # A long clip counts more than a short one, but not in proportion: faces matter as much as words.
        self._share = np.sqrt(windows) / np.sqrt(windows).sum()
        self._mel = lru_cache(maxsize=16_384)(self._degraded)

    @property
    def filmed(self) -> bool:
        """Whether there are clips without an idle picture."""
        return any(clip.idle is None for clip in self._clips)

    def sync_batch(self, size: int, mels: int, judge_size: int, random: Random) -> SyncBatch:
        """`size` windows for a discriminator of `judge_size`, each with one right, mels - 1 wrong sounds."""
        frames, sounds, codes = [], [], []
        for _ in range(size):
            index, start = self._draw(random)
            pictures, _, _ = self._pictures(index, list(range(start, start + FRAMES)), random)
            frames.append(_to_tensor(pictures))
            sounds.append(self._sounds(index, start, mels, random))
            codes.append(self._codes(index, start))
        code = torch.from_numpy(np.stack(codes))
        return SyncBatch(
            stack_frames(torch.stack(frames), judge_size),
            torch.from_numpy(np.stack(sounds)),
            torch.nan_to_num(code).flatten(1),
            ~code.isnan().flatten(1).any(dim=1),
        )

    def talk_batch(self, size: int, mels: int, random: Random) -> TalkBatch:
        """`size` sequences of five pictures for the generator, with `mels` sounds for the discriminator."""
        parts = [self._sequence(mels, random) for _ in range(size)]
        face, target, reference, mel, lips, code, sync = (
            np.stack([part[k] for part in parts]) for k in range(7)
        )
        codes = torch.from_numpy(code).flatten(0, 1)
        faces = torch.from_numpy(face)
        still = bool((faces[:, 1:] == faces[:, :1]).all())
        return TalkBatch(
            faces[:, 0] if still else faces.flatten(0, 1),
            torch.from_numpy(target).flatten(0, 1),
            torch.from_numpy(reference).flatten(0, 1),
            torch.from_numpy(mel).flatten(0, 1)[:, None],
            torch.from_numpy(lips).flatten(0, 1),
            torch.nan_to_num(codes),
            ~codes.isnan().any(dim=1),
            torch.from_numpy(sync),
        )

    def _sequence(self, mels: int, random: Random) -> tuple[NDArray[np.float32], ...]:
        index, start = self._draw(random)
        card = self._clips[index].card
        wanted = list(range(start, start + FRAMES))
        others = [] if card.idle else _elsewhere(card.frames, start, random)
        pictures, idle, lips = self._pictures(index, [*wanted, *others], random)
        targets = to_array(pictures[:FRAMES])
        if idle is not None:
            references = np.repeat(to_array([idle]), FRAMES, axis=0)
            masked = np.where(input_mask(self._size), np.float32(0), references)
        else:
            references = to_array(pictures[FRAMES:])
            masked = np.where(input_mask(self._size, FILMED_MASK_TOP), np.float32(0), targets)
        spectrogram = self._mel(index, int(random.integers(_SOUNDS)))
        heard = np.stack([window(spectrogram, card.lead + tick) for tick in wanted])
        face = np.concatenate([masked, references], axis=1)
        sync = self._sounds(index, start, mels, random)
        return face, targets, references, heard, lips[:FRAMES], self._codes(index, start), sync

    def _draw(self, random: Random) -> tuple[int, int]:
        index = int(random.choice(len(self._clips), p=self._share))
        return index, int(random.integers(self._clips[index].card.frames - FRAMES + 1))

    def _pictures(
        self, index: int, wanted: Sequence[int], random: Random
    ) -> tuple[list[Picture], Picture | None, NDArray[np.float32]]:
        """The wanted pictures, the idle one, the lips of each, all seen through one camera."""
        clip = self._clips[index]
        variation = self._camera(random)
        half = clip.card.size >= 2 * clip.card.margin * self._size
        cuts = [
            cut_clip(decode(clip.pictures[at], half=half), clip.card.margin, self._size, variation, random)
            for at in wanted
        ]
        idle = None
        if clip.idle is not None:
            idle = cut_clip(decode(clip.idle, half=half), clip.card.margin, self._size, variation, None)
        lips = [variation.moved(clip.card.lips[at], clip.card.margin) for at in wanted]
        return cuts, idle, np.array(lips, np.float32)

    def _sounds(self, index: int, start: int, count: int, random: Random) -> NDArray[np.float32]:
        """(count, 1, 80, 16): the sound of the five pictures from `start` on, then wrong ones."""
        version = int(random.integers(_SOUNDS))
        lead = self._clips[index].card.lead
        found = [sync_window(self._mel(index, version), lead + start)]
        while len(found) < count:
            other, at = self._wrong(index, start, random)
            found.append(sync_window(self._mel(other, version), at))
        gain = np.float32(random.normal(0, 0.25))  # decibels are linear in the spectrogram
        sounds: NDArray[np.float32] = np.clip(np.stack(found) + gain, -4, 4)[:, None]
        return sounds

    def _wrong(self, index: int, start: int, random: Random) -> tuple[int, int]:
        """Clip and tick of a sound that is not that of the window."""
        card = self._clips[index].card
        ticks = card.frames + 2 * card.lead - FRAMES + 1
        near = [
            at
            for at in range(
                max(0, card.lead + start - FARTHEST_WRONG), min(ticks, card.lead + start + FARTHEST_WRONG + 1)
            )
            if abs(at - card.lead - start) >= NEAREST_WRONG
        ]
        if near and (random.random() >= _ELSEWHERE or len(self._clips) == 1):
            return index, int(random.choice(near))
        other = index
        while other == index and len(self._clips) > 1:  # its own sound might be the right one
            other = int(random.choice(len(self._clips), p=self._share))
        there = self._clips[other].card
        return other, int(random.integers(there.frames + 2 * there.lead - FRAMES + 1))

    def _codes(self, index: int, start: int) -> NDArray[np.float32]:
        code = self._clips[index].card.code
        if code is None:
            return np.full((FRAMES, CODE), np.nan, np.float32)
        return np.array(code[start : start + FRAMES], np.float32)

    def _degraded(self, index: int, version: int) -> Mel:
        """The clip's spectrogram; version 0 is clean, the others went through a random microphone."""
        samples = self._clips[index].samples
        if version:
            samples = degrade(samples, np.random.default_rng([self._seed, index, version]))
        return log_mel(samples)


def cut_clip(
    picture: Picture, margin: float, size: int, variation: Variation, random: Random | None
) -> Picture:
    """The network's crop out of a clip's stored square, varied; `random` adds a tracker's trembling."""
    side = len(picture)
    crop = variation.crop(Crop(side / 2, side / 2, side / margin, 0.0), random)
    return variation.seen(extract(picture, crop, size))


def sync_window(spectrogram: Mel, tick: int) -> Mel:
    """(80, 16): the 200 ms of sound from the start of `tick` on, which five pictures show."""
    return window(spectrogram, tick + WINDOW_LEAD_TICKS)


def _elsewhere(frames: int, start: int, random: Random) -> list[int]:
    """Five pictures in a row, away from those at `start` as far as the clip allows."""
    starts = [at for at in range(frames - FRAMES + 1) if abs(at - start) >= _MIN_TURN]
    at = int(random.choice(starts)) if starts else (0 if start > (frames - FRAMES) // 2 else frames - FRAMES)
    return list(range(at, at + FRAMES))


def to_array(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """RGB uint8 (S, S, 3) pictures as float32 (n, 3, S, S) in [-1, 1]."""
    stacked = np.stack(pictures).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, dtype=np.float32) / np.float32(127.5) - 1


def _to_tensor(pictures: Sequence[Picture]) -> Tensor:
    return torch.from_numpy(to_array(pictures))
