"""The best idle loop in a survey: which pictures are shown while nothing is said."""

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Points
from engine.anchor.shares import mouth_shares
from engine.anchor.survey import Flags, Floats, Survey
from engine.anchor.walk import Loop
from engine.speech.audio import FRAME_RATE

MIN_FRAMES = 2 * FRAME_RATE
"""A loop has at least this many pictures."""

GOOD_FRAMES = 4 * FRAME_RATE
"""Below, its repeating is seen, so it has to go round much better than a longer one to be chosen."""

MAX_FRAMES = 20 * FRAME_RATE
"""A longer loop would only take memory."""

FADE = 10
"""Pictures over which the end of a forward loop becomes its beginning."""

Figures = NDArray[np.floating[Any]]

LoopChoice = Literal["auto", "forward", "pingpong"]

# What is just visible counts one.
_POINT_STEP = 1.0  # % of the distance from the eyes to the chin, RMS over the face's points
_THUMB_STEP = 2.0  # levels of 255, mean over the whole picture in small
_LIGHT_STEP = 2.0  # levels of 255, mean of the face
_TURN_STEP = 0.4  # % of the same distance in one picture, where a ping-pong turns round
_MOTION_STEP = 1.0  # the same, mean over the loop
_YAW_STEP = 15.0  # degrees, mean over the loop
_HIDDEN = 8.0  # the mean share of the mouth that a turned face hides
_BACKWARDS = 0.5  # price of playing the pictures backwards
_SHORT = 0.4  # for each halving of the longest loop
_HASTY = 4.0  # for a loop of no length; GOOD_FRAMES cost nothing
_BLINK = 2.0  # eyes closed at an end

_OPEN_EYES = 0.8  # of what is usual for the person
_CLOSED_LIPS = 0.03  # distance of the inner lips over the distance from the eyes to the chin
_STILL_LIPS = 0.012  # standard deviation of that distance within a second: lips parted but at rest
_JAW_ROOM = 0.06  # jawOpen above the person's own lowest that still counts as closed
_STILL_JAW_ROOM = 0.12  # the same where the lips are still: trackers err by as much on some faces
_MOMENT = 9  # pictures for which lips have to be at rest in a row
_SMALL = 16

_EYES = (33, 133, 362, 263)
_CHIN = (148, 152, 377)
_LIDS = ((159, 145, 33, 133), (386, 374, 362, 263))
_LIPS = (13, 14)
# Around the face, brows, eyes, nose and lips: what would be seen to jump.
_SEEN = (
    10, 67, 297, 54, 284, 127, 356, 234, 454, 132, 361, 58, 288, 136, 365, 149, 378, 152, 70, 105, 107, 336,
    334, 300, 33, 133, 159, 145, 362, 263, 386, 374, 168, 4, 2, 205, 425, 61, 291, 0, 17, 13, 14,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class IdleLoop:
    """Pictures `first` to `last` (exclusive) of the footage, and how they go round.

    `fade`: over how many of its last pictures a forward loop becomes the pictures before `first`; 0 for
    ping-pong. `rested`: somebody speaks in it, so the mouth is to be closed in each picture where it is not.
    `jump` is what shows where it goes round, `motion` how much the head moves from picture to picture, in %
    of the distance from the eyes to the chin; `cost` is what it was chosen by, all of it in steps that are
    just visible.
    """

    first: int
    last: int
    loop: Loop
    fade: int
    rested: bool
    jump: float
    motion: float
    cost: float

    @property
    def frames(self) -> int:
        """Number of its pictures."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class _Traits:
    """What is compared: per picture, n of them; missing faces are carried over and forbidden elsewhere."""

    points: NDArray[np.float32]  # (n, p), % of the face's height
    thumbs: NDArray[np.float32]  # (n, _SMALL * _SMALL)
    light: Floats
    speed: Floats  # % of the face's height per picture
    open_eyes: Floats  # share of what is usual, at most 1
    yaw: Floats
    hidden: Floats  # share of a drawn mouth that may not be shown
    effort: Floats  # 0 where nothing has to be done


def find_loop(
    survey: Survey,
    allowed: Flags,
    choice: LoopChoice = "auto",
    *,
    shortest: int = MIN_FRAMES,
    longest: int = MAX_FRAMES,
    effort: Floats | None = None,
) -> IdleLoop | None:
    """The loop of least cost; None where nothing that is `allowed` (n,) lasts `shortest` pictures.

    `longest` bounds its length in pictures. `effort` (n,), where each picture's mouth has to be closed first:
    how badly that goes, 1 being where it begins to show.
    """
    return _search(
        _traits(survey, effort), allowed, choice, shortest, min(longest, MAX_FRAMES), effort is not None
    )


def closed_lips(survey: Survey) -> Flags:
    """(n,): the lips touch."""
    gap = _gaps(survey.landmarks)
    with np.errstate(invalid="ignore"):
        return np.asarray((gap < _CLOSED_LIPS) & _low_jaw(survey, _JAW_ROOM), np.bool_)


def at_rest(survey: Survey) -> Flags:
    """(n,): nobody speaks and the lips are closed, or parted and still."""
    gap = _gaps(survey.landmarks)
    reach = FRAME_RATE // 2
    padded = np.pad(gap, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    with np.errstate(invalid="ignore"):
        still = np.std(windows, axis=1) < _STILL_LIPS
        calm = (gap < _CLOSED_LIPS) | still
    calm &= _low_jaw(survey, _STILL_JAW_ROOM)
    # Lips that touch for a moment in mid-speech are not at rest.
    quiet = (calm & ~survey.voiced).astype(np.uint8)[None]
    return np.asarray(
        cv2.morphologyEx(quiet, cv2.MORPH_OPEN, np.ones((1, _MOMENT), np.uint8))[0] > 0, np.bool_
    )


def _low_jaw(survey: Survey, room: float) -> Flags:
    known = survey.jaw_open[np.isfinite(survey.jaw_open)]
    if known.size == 0:
        return np.zeros(len(survey.jaw_open), np.bool_)
    with np.errstate(invalid="ignore"):
        return np.asarray(survey.jaw_open < np.percentile(known, 5) + room, np.bool_)


def _gaps(landmarks: list[Points | None]) -> Floats:
    """(n,) distance of the inner lips over the face's height, NaN without a face."""
    upper, lower = _LIPS
    return np.array(
        [np.nan if p is None else np.linalg.norm(p[upper] - p[lower]) / _height(p) for p in landmarks],
        np.float32,
    )


def _height(points: Points) -> float:
    """From the middle of the eyes to the chin, pixels."""
    eyes, chin = points[list(_EYES)].mean(axis=0), points[list(_CHIN)].mean(axis=0)
    return max(float(np.linalg.norm(chin - eyes)), 1e-6)


def _traits(survey: Survey, effort: Floats | None) -> _Traits:
    seen: list[Points | None] = [None if p is None else p[list(_SEEN)] for p in survey.landmarks]
    known = [p for p in survey.landmarks if p is not None]
    height = float(np.median([_height(p) for p in known])) if known else 1.0
    nothing = np.zeros((len(_SEEN), 2), np.float32)
    points = np.stack([nothing if p is None else p for p in seen]).reshape(len(seen), -1) * (100 / height)
    # The tracker trembles by a fraction of a pixel; what is compared are places, not tremblings.
    calm = cv2.GaussianBlur(points, (1, 0), sigmaX=1e-6, sigmaY=1.0, borderType=cv2.BORDER_REPLICATE)
    scaled = np.asarray(calm / np.sqrt(len(_SEEN)), np.float32)
    step = np.linalg.norm(np.diff(scaled, axis=0, prepend=scaled[:1]), axis=1)
    speed = np.maximum(step, np.append(step[1:], 0))
    small = np.stack([cv2.resize(t, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA) for t in survey.thumbs])
    thumbs = small.reshape(len(seen), -1).astype(np.float32)
    eyes = np.array([np.nan if p is None else _eye_opening(p) for p in survey.landmarks], np.float32)
    usual = max(float(np.nanpercentile(eyes, 75)), 1e-6) if known else 1.0
    open_eyes = np.minimum(np.nan_to_num(eyes) / usual, 1)
    light, yaw = np.nan_to_num(survey.brightness), np.nan_to_num(survey.yaw)
    toil = np.zeros(len(seen), np.float32) if effort is None else np.where(np.isfinite(effort), effort, 0)
    hidden = 1 - mouth_shares(survey.yaw, survey.pitch)
    return _Traits(
        scaled, thumbs, light, speed.astype(np.float32), open_eyes.astype(np.float32), yaw, hidden, toil
    )


def _eye_opening(points: Points) -> float:
    """Height of the eyes over their width; 1 where the points tell nothing."""
    wide = sum(float(np.linalg.norm(points[right] - points[left])) for _, _, right, left in _LIDS)
    high = sum(float(np.linalg.norm(points[upper] - points[lower])) for upper, lower, _, _ in _LIDS)
    return high / wide if wide > 0 else 1.0


def _search(
    traits: _Traits, allowed: Flags, choice: LoopChoice, shortest: int, longest: int, rested: bool
) -> IdleLoop | None:
    """The best pair of ends: every length from `shortest` to `longest`, every place, both ways round."""
    best: IdleLoop | None = None
    count = len(allowed)
    forbidden = np.concatenate([[0], np.cumsum(~allowed)])
    motion, yaw, effort, hidden = (
        _cumulated(x) for x in (traits.speed, np.abs(traits.yaw), traits.effort, traits.hidden)
    )
    ends = _BLINK * np.maximum(0, 1 - traits.open_eyes / _OPEN_EYES)
    turns = ends + traits.speed / _TURN_STEP
    for length in range(shortest, min(longest, count) + 1):
        first = np.arange(count - length + 1)
        last = first + length
        mean_motion = (motion[last] - motion[first]) / length
        common = (
            mean_motion / _MOTION_STEP
            + (yaw[last] - yaw[first]) / length / _YAW_STEP
            + _HIDDEN * (hidden[last] - hidden[first]) / length
            + _SHORT * np.log2(MAX_FRAMES / length)
            + _HASTY * max(0, 1 - length / GOOD_FRAMES)
            + (effort[last] - effort[first]) / length
        )
        if choice != "forward":
            jump = turns[first] + turns[last - 1]
            cost = common + jump + _BACKWARDS
            cost[forbidden[last] > forbidden[first]] = np.inf
            best = _better(best, cost, jump, mean_motion, length, "pingpong", rested)
        if choice != "pingpong" and count - length >= FADE:
            jump = _jumps(traits, length)
            cost = common[FADE:] + jump + ends[FADE : count - length + 1] + ends[FADE - 1 + length :]
            cost[forbidden[last[FADE:]] > forbidden[first[:-FADE]]] = np.inf
            best = _better(best, cost, jump, mean_motion[FADE:], length, "forward", rested)
    return best


def _jumps(traits: _Traits, length: int) -> Floats:
    """Of forward loops of `length` pictures that begin at FADE, FADE + 1, ...: how far apart the pictures are
    that fade into each other, mean over the fade.
    """
    apart = (
        np.linalg.norm(traits.points[length:] - traits.points[:-length], axis=1) / _POINT_STEP
        + np.abs(traits.thumbs[length:] - traits.thumbs[:-length]).mean(axis=1) / _THUMB_STEP
        + np.abs(traits.light[length:] - traits.light[:-length]) / _LIGHT_STEP
    )
    sums = _cumulated(apart)
    return np.asarray((sums[FADE:] - sums[:-FADE]) / FADE, np.float32)


def _better(
    best: IdleLoop | None,
    cost: Figures,
    jump: Figures,
    motion: Figures,
    length: int,
    loop: Loop,
    rested: bool,
) -> IdleLoop | None:
    at = int(np.argmin(cost))
    if not np.isfinite(cost[at]) or (best is not None and best.cost <= cost[at]):
        return best
    fade = FADE if loop == "forward" else 0
    first = at + fade
    return IdleLoop(
        first, first + length, loop, fade, rested, float(jump[at]), float(motion[at]), float(cost[at])
    )


def _cumulated(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """(n + 1,): sums of the first 0, 1, ... n values."""
    return np.concatenate([[0.0], np.cumsum(values.astype(np.float64))])
