"""The director: which frame of which clip is shown next. Pure and deterministic."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from engine.anchor.card import Clip
from engine.anchor.walk import one_round
from engine.errors import AvatarError
from engine.speech.audio import FRAME_RATE

_LINGER_TICKS = round(1.5 * FRAME_RATE)  # the talking posture outlasts shorter pauses


@dataclass(frozen=True, slots=True)
class Shot:
    """What one tick shows: `frame` of the clip named `clip`, and during a fade `other_share` of `other`, a
    frame of the clip that is left. Frames are counted through all clips.
    """

    clip: str
    frame: int
    other: int | None = None
    other_share: float = 0.0


class Director:
    """Idle clip in silence, talking clip (where there is one) while speaking, others once when asked for."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = {clip.name: clip for clip in clips}
        self._rounds: dict[str, tuple[int, ...]] = {}
        first = 0
        for clip in clips:
            loop = "pingpong" if clip.loop == "once" and clip.kind in ("idle", "talking") else clip.loop
            self._rounds[clip.name] = tuple(first + frame for frame in one_round(clip.frames, loop))
            first += clip.frames
        self._posture = {clip.kind: clip.name for clip in reversed(clips)}
        self._waiting: deque[str] = deque()
        self._clip = self._posture["idle"]
        self._step = 0
        self._linger = 0

    def ask(self, name: str) -> bool:
        """Ask for a clip by name; raises AvatarError for one that is not there.

        A greeting or gesture is shown once, after those that wait already; an idle or talking clip becomes
        the one of its kind. False when that changes nothing: it is on, or waits, already.
        """
        clip = self._clips.get(name)
        if clip is None:
            raise AvatarError(f"There is no clip {name!r}; known clips: {', '.join(self._clips)}.")
        if clip.kind in ("idle", "talking"):
            changes = self._posture[clip.kind] != name
            self._posture[clip.kind] = name
            return changes
        if name == self._clip or name in self._waiting:
            return False
        self._waiting.append(name)
        return True

    def next(self, speaking: bool) -> Shot:
        """The next tick's shot."""
        self._linger = _LINGER_TICKS if speaking else max(0, self._linger - 1)
        posture = self._posture.get("talking") if self._linger else None
        wanted = posture or self._posture["idle"]
        on = self._clips[self._clip]
        done = self._step == len(self._rounds[self._clip])
        if on.kind in ("idle", "talking") or done:
            wanted = self._waiting.popleft() if self._waiting else wanted
            if wanted != self._clip or done:
                self._step = self._step if wanted == self._clip else 0
                self._clip = wanted
        frames = self._rounds[self._clip]
        shot = Shot(self._clip, frames[self._step % len(frames)])
        self._step += 1
        if self._clips[self._clip].kind in ("idle", "talking"):
            self._step %= len(frames)
        return shot
