"""The director: which frame of which clip is shown next. Pure and deterministic; time is its own calls."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import Clip
from engine.anchor.poses import Poses, squared_distances
from engine.anchor.walk import one_round
from engine.errors import AvatarError
from engine.speech.audio import FRAME_RATE

POSTURE_WAIT = round(0.6 * FRAME_RATE)
"""Ticks that a change of posture may wait for a pose that fits."""

REQUEST_WAIT = int(0.3 * FRAME_RATE)
"""The same for a clip that was asked for; and how much sooner than needed it may be left at its end."""

LINGER = round(1.5 * FRAME_RATE)
"""Ticks that the talking clip stays after speech: pauses within it change nothing."""

LONGEST_FADE = 8
_SHORTEST_FADE = 5
_NEAR, _FAR = 0.01, 0.05  # sides of the crop: fades over the one are the shortest, over the other the longest
_HASTE = 1e-6  # squared sides of the crop that each tick of waiting must gain

_Steps = NDArray[np.int_]


def find_clip(clips: Sequence[Clip], name: str) -> Clip:
    """The clip of that name; raises AvatarError, naming those there are."""
    for clip in clips:
        if clip.name == name:
            return clip
    raise AvatarError(f"There is no clip {name!r}; known clips: {', '.join(clip.name for clip in clips)}.")


def share_left(done: int, ticks: int) -> float:
    """What fades away over `ticks` still has of the picture in tick number `done`, from 0; in (0, 1), eased
    in and out.
    """
    part = (done + 1) / (ticks + 1)
    return 1 - part * part * (3 - 2 * part)


@dataclass(frozen=True, slots=True)
class Shot:
    """What one tick shows: `frame`, of the clip named `clip`; while a fade lasts, `other_share` of the
    picture is still `other`, a frame of the clip that is left. Frames are counted through all clips. `take`
    counts the changes of clip.
    """

    clip: str
    frame: int
    other: int | None = None
    other_share: float = 0.0
    take: int = 0


@dataclass(frozen=True, slots=True)
class _Cut:
    """A planned change of clip: from `start`, a step of the clip that is shown, it fades over `ticks` into
    `entry`, a step of the clip named `to`.
    """

    to: str
    start: int
    entry: int
    ticks: int


class _Reel:
    """A clip as it is shown, step by step."""

    def __init__(self, clip: Clip, first: int) -> None:
        self.lasts = clip.kind in ("idle", "talking")
        """Whether it goes round, or is over after one round and stays at its last frame."""
        self.frames = slice(first, first + clip.frames)
        # What goes round may not jump: where it is no loop it turns.
        loop = "pingpong" if self.lasts and clip.loop == "once" else clip.loop
        self._round = np.array(one_round(clip.frames, loop))

    def __len__(self) -> int:
        """Steps of one round."""
        return len(self._round)

    def places(self, steps: _Steps) -> _Steps:
        """Which of the clip's own frames, from 0, is shown at each of these steps >= 0."""
        return self._round[steps % len(self) if self.lasts else np.minimum(steps, len(self) - 1)]

    def frame(self, step: int) -> int:
        """The number of the frame at a step, through all clips."""
        return self.frames.start + int(self.places(np.array(step)))


class Director:
    """The idle clip in silence, the talking clip (where there is one) in speech, others once when asked for.

    A change of clip waits, for a bounded time, until both clips show the same pose, and is then faded.
    """

    def __init__(self, clips: Sequence[Clip], poses: Poses) -> None:
        """`clips` idle first; `poses` of all their frames."""
        self._poses = poses
        self._clips = tuple(clips)
        self._reels: dict[str, _Reel] = {}
        first = 0
        for clip in clips:
            self._reels[clip.name] = _Reel(clip, first)
            first += clip.frames
        self._postures = {clip.kind: clip.name for clip in reversed(clips)}
        self._asked: deque[str] = deque()
        self._linger = 0
        self._clip = clips[0].name
        self._step = 0
        self._cut: _Cut | None = None
        self._take = 0

    def ask(self, name: str) -> bool:
        """Ask for a clip by name; raises AvatarError for one that is not there.

        A greeting or gesture is shown once, after those asked for before; an idle or talking clip becomes the
        one that is shown in silence, or in speech. False when it is on, waits or is chosen already: then
        nothing changes.
        """
        kind = find_clip(self._clips, name).kind
        if self._reels[name].lasts:
            changes = self._postures[kind] != name
            self._postures[kind] = name
            return changes
        on = self._cut.to if self._cut is not None and self._step > self._cut.start else self._clip
        if name == on or name in self._asked:
            return False
        self._asked.append(name)
        return True

    def next(self, speaking: bool) -> Shot:
        """The next tick's shot; `speaking`: somebody speaks in it or soon after."""
        self._linger = LINGER if speaking else max(0, self._linger - 1)
        if self._cut is None or self._step <= self._cut.start:
            self._plan()
        if self._cut is not None and self._step >= self._cut.start:
            return self._fade(self._cut)
        shot = Shot(self._clip, self._reels[self._clip].frame(self._step), take=self._take)
        self._step += 1
        return shot

    def _fade(self, cut: _Cut) -> Shot:
        done = self._step - cut.start
        if done == 0:
            self._take += 1
            if not self._reels[cut.to].lasts:
                self._asked.popleft()
        frame, other = self._reels[cut.to].frame(cut.entry + done), self._reels[self._clip].frame(self._step)
        self._step += 1
        if done + 1 == cut.ticks:
            self._clip, self._step, self._cut = cut.to, cut.entry + cut.ticks, None
        return Shot(cut.to, frame, other, share_left(done, cut.ticks), self._take)

    def _plan(self) -> None:
        """Have a cut when the clip that is shown shall change, the same one until what is wanted changes."""
        wanted = self._wanted()
        if wanted is None:
            self._cut = None
        elif self._cut is None or self._cut.to != wanted:
            self._cut = self._best_cut(wanted)

    def _wanted(self) -> str | None:
        """The clip that shall follow, None while what is shown shall stay."""
        shown = self._reels[self._clip]
        if not shown.lasts and len(shown) - self._step > REQUEST_WAIT + LONGEST_FADE:
            return None
        posture = self._postures.get("talking") if self._linger else None
        wanted = self._asked[0] if self._asked else posture or self._postures["idle"]
        return None if shown.lasts and wanted == self._clip else wanted

    def _best_cut(self, to: str) -> _Cut:
        """The cut into a clip whose poses agree best all through its fade."""
        shown, coming = self._reels[self._clip], self._reels[to]
        wait = POSTURE_WAIT if shown.lasts and coming.lasts else REQUEST_WAIT
        if not shown.lasts:
            wait = min(wait, max(0, len(shown) - self._step - LONGEST_FADE))
        leaving = self._poses[shown.frames][shown.places(self._step + np.arange(wait + LONGEST_FADE))]
        apart = squared_distances(leaving, self._poses[coming.frames])
        entries = np.arange(len(coming) if coming.lasts else 1)
        fades = [apart[k : k + wait + 1, coming.places(entries + k)] for k in range(LONGEST_FADE)]
        costs = np.mean(fades, axis=0) + _HASTE * np.arange(wait + 1)[:, None]
        later, entry = np.unravel_index(int(costs.argmin()), costs.shape)
        distance = float(np.sqrt(costs[later, entry]))
        ticks = round(float(np.interp(distance, (_NEAR, _FAR), (_SHORTEST_FADE, LONGEST_FADE))))
        return _Cut(to, self._step + int(later), int(entry), ticks)
