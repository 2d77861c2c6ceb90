"""LiveAvatar: the core of a session, without I/O. Speech in, ticks out."""

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.anchor.package import Avatar
from engine.anchor.walk import AnchorWalk
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.paste import Paster
from engine.picture.yuv import Frame
from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16
from engine.speech.buffer import SpeechBuffer
from engine.speech.mel import SILENT_WINDOW, Mel

_RAMP = 1 / 3  # share of the mouth that one tick adds or takes: idle and speaking meet within three ticks
_CUT_RAMP = 1 / 2  # after an interrupt


@dataclass(frozen=True, slots=True)
class Tick:
    """40 ms of presenter, picture and sound in one value, so that they cannot drift apart.

    `index` counts from 0. `picture` I420 uint8 (h * 3 // 2, w), perhaps shared: read-only. `sound` int16
    (640,) mono at 16 kHz. `speaking`: somebody speaks now or within the look-ahead. `mouth_late`: the speech
    of this tick had begun but did not arrive in time, so the tick is silent and idle. `position`: where this
    tick's sound ends on the line of all pushed speech (what `LiveAvatar.push` returns is on it).
    `frame`: number of the anchor's frame in the picture.
    """

    index: int
    picture: Frame
    sound: NDArray[np.int16]
    speaking: bool
    mouth_late: bool
    position: int = 0
    frame: int = 0


class LiveAvatar:
    """One presenter that says what it is given. Same pushes between same ticks, same ticks out.

    `push`, `finish`, `interrupt` and `backlog_s` may be called from another thread than `tick`.
    """

    def __init__(self, avatar: Avatar, features: AnchorFeatures, mouth: MouthRuntime) -> None:
        self._avatar = avatar
        self._features = features
        self._mouth = mouth
        self._walk = AnchorWalk(avatar.card.idle.frames, avatar.card.idle.loop)
        self._paster = Paster(avatar.mask(0))
        self._speech = SpeechBuffer()
        self._lock = threading.Lock()
        self._index = 0
        self._strength = 0.0
        self._fall = _RAMP
        self._flowing = False

    @property
    def backlog_s(self) -> float:
        """Seconds of speech not yet spoken."""
        with self._lock:
            return self._speech.backlog / SAMPLE_RATE

    def push(self, speech: Samples, *, live: bool = False) -> int:
        """Add speech, float32 mono in [-1, 1] at 16 kHz, any length; returns where it ends on the line that
        `Tick.position` walks, in samples.

        `live`: from a microphone; its delay is bounded by leaving out silence, then old speech, and it is
        ignored while queued speech waits. Otherwise queued speech, never dropped; end it with `finish`.
        """
        with self._lock:
            return self._speech.push(speech, live=live)

    def finish(self) -> None:
        """An utterance ends here: its last ticks no longer wait for more."""
        with self._lock:
            self._speech.finish()

    def interrupt(self) -> int:
        """Forget all speech at once; the mouth closes within two ticks. Returns the samples dropped."""
        with self._lock:
            self._fall = _CUT_RAMP
            self._flowing = False
            return self._speech.clear()

    def tick(self) -> Tick:
        """The next 40 ms. Waits for nothing but the mouth's inference, and that only while it moves."""
        frame = next(self._walk)
        with self._lock:
            ready, speaking = self._speech.ready, self._speech.voiced
            late = self._flowing and not ready and self._speech.backlog > 0
            window = self._speech.window() if speaking else SILENT_WINDOW
            sound = self._speech.advance()
            position = self._speech.position
            self._flowing = (speaking if ready else late) and self._speech.backlog > 0
            self._move(speaking)
            strength = self._strength
        picture = self._draw(frame, window, strength)
        tick = Tick(self._index, picture, to_pcm16(sound), speaking, late, position, frame)
        self._index += 1
        return tick

    def _move(self, speaking: bool) -> None:
        if speaking:
            self._strength = min(1.0, self._strength + _RAMP)
            self._fall = _RAMP
        else:
            # Rounding must not leave a trace of mouth behind.
            self._strength = self._strength - self._fall if self._strength > self._fall + 1e-6 else 0.0

    def _draw(self, frame: int, window: Mel, strength: float) -> Frame:
        anchor = self._avatar.frame(frame)
        if strength == 0:
            return anchor
        patch = self._mouth.decode(window[None], [self._features[frame]])[0]
        idle = self._avatar.face(frame)
        return self._paster.paste(anchor, patch, self._avatar.card.crops[frame], strength, idle)
