"""Voice gate: does somebody speak? WebRTC's detector on frames of 20 ms, with hysteresis and a floor."""

from collections import deque
from collections.abc import Iterable

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, Samples, level_db, to_pcm16

GATE_FRAME = SAMPLE_RATE // 50
"""320 samples, 20 ms: the step in which the gate decides. Two of them make a tick."""

_ROOM_FRAMES = 75
_TYPICAL_ROOM_DB = -46.0  # until the room is known


class VoiceGate:
    """Opens on speech within 40 to 60 ms, stays open over short pauses, keeps shut on room noise.

    `aggressiveness` 0 to 3 is WebRTC's. A frame counts as voice when the detector says so and its level
    exceeds `floor_db` (dB full scale) and, by `margin_db`, the level of the room: the quietest frame of the
    last 1.5 s, which even running speech touches between its sounds and steady noise never leaves. The gate
    opens when `open_frames` of the last `open_frames + 1` frames are voice and closes after `hang_frames`
    without.
    """

    def __init__(
        self,
        aggressiveness: int = 2,
        *,
        open_frames: int = 2,
        hang_frames: int = 10,
        floor_db: float = -52.0,
        margin_db: float = 5.0,
    ) -> None:
        self._detector = webrtcvad.Vad(aggressiveness)
        self._open_frames = open_frames
        self._hang_frames = hang_frames
        self._floor_db = floor_db
        self._margin_db = margin_db
        self._recent: deque[bool] = deque(maxlen=open_frames + 1)
        self._levels = deque([_TYPICAL_ROOM_DB], maxlen=_ROOM_FRAMES)
        self._pending: Samples = np.zeros(0, np.float32)
        self._unvoiced = 0
        self.is_open = False

    @property
    def delay_frames(self) -> int:
        """Frames of voice that pass before the gate opens, the opening one included."""
        return self._open_frames + 1

    def push(self, samples: Samples) -> list[bool]:
        """Add float32 samples in [-1, 1]; for each completed frame of 320 whether the gate is open."""
        self._pending = np.concatenate([self._pending, samples])
        count = self._pending.size // GATE_FRAME
        frames = self._pending[: count * GATE_FRAME].reshape(count, GATE_FRAME)
        self._pending = self._pending[count * GATE_FRAME :]
        return [self._decide(frame) for frame in frames]

    def _decide(self, frame: Samples) -> bool:
        voice = self._is_voice(frame)
        self._recent.append(voice)
        self._unvoiced = 0 if voice else self._unvoiced + 1
        if self.is_open:
            self.is_open = self._unvoiced < self._hang_frames
        else:
            self.is_open = sum(self._recent) >= self._open_frames
        if not self.is_open and self._unvoiced >= self._hang_frames:
            self._recent.clear()
        return self.is_open

    def _is_voice(self, frame: Samples) -> bool:
        level = level_db(frame)
        self._levels.append(level)
        loud = level > max(self._floor_db, min(self._levels) + self._margin_db)
        # The detector hears every frame, for it learns the room too.
        return bool(self._detector.is_speech(to_pcm16(frame).tobytes(), SAMPLE_RATE)) and loud


def voiced_ticks(parts: Iterable[Samples], ticks: int) -> NDArray[np.bool_]:
    """(ticks,): True where a new gate hears somebody during a tick of sound, which may come in parts."""
    gate = VoiceGate()
    steps = np.array([step for part in parts for step in gate.push(part)][: 2 * ticks], np.bool_)
    flags = np.zeros(2 * ticks, np.bool_)
    flags[: steps.size] = steps
    return np.asarray(flags[0::2] | flags[1::2])
