"""How the clips of an avatar follow each other while it speaks: what is seen of it, and what it costs."""

import time
from dataclasses import dataclass

import cv2
import numpy as np

from engine.anchor.director import LINGER, LONGEST_FADE, POSTURE_WAIT
from engine.anchor.package import Avatar
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.yuv import planes
from engine.speech.audio import SAMPLES_PER_TICK, Samples

_SETTLED_TICKS = POSTURE_WAIT + LONGEST_FADE + 25


@dataclass(frozen=True, slots=True)
class Switches:
    """Of all changes of clip in one session.

    `step`: the largest change of luminance from picture to picture in a fade, over the 99th percentile of
    what the clips do by themselves; a cut would be several. `sharpness`: standard deviation of the Laplacian
    where a fade is softest, over that of the clips. `ms_fade`, `ms_speaking`: processor time of a tick while
    two mouths are drawn, and one, median.
    """

    switches: int
    step: float
    sharpness: float
    ms_fade: float
    ms_speaking: float


def judge_switches(avatar: Avatar, mouth: MouthRuntime, speech: Samples) -> Switches:
    """Let `avatar` say `speech` again and again, show each of its clips, and fall silent.

    Raises ValueError for an avatar of one clip.
    """
    if len(avatar.card.clips) < 2:
        raise ValueError("an avatar of one clip has no switches")
    features = AnchorFeatures(avatar, mouth)
    features.fill()
    live = LiveAvatar(avatar, features, mouth)
    once = [clip for clip in avatar.card.clips if clip.kind in ("greeting", "gesture")]
    ticks = sum(clip.frames + _SETTLED_TICKS for clip in once) + 2 * _SETTLED_TICKS
    live.push(np.resize(speech, ticks * SAMPLES_PER_TICK))
    live.finish()
    seen = _Seen()
    for clip in (None, *once):
        if clip is not None:
            live.show(clip.name)
        for _ in range(_SETTLED_TICKS + (clip.frames if clip else 0)):
            seen.tick(live)
    live.interrupt()
    for _ in range(LINGER + _SETTLED_TICKS):
        seen.tick(live)
    return seen.verdict()


class _Seen:
    """What is kept of each tick: numbers, no pictures."""

    def __init__(self) -> None:
        self._last: Tick | None = None
        self._rows: list[tuple[bool, bool, float, float, float]] = []
        self._switches = 0

    def tick(self, live: LiveAvatar) -> None:
        start = time.process_time()
        tick = live.tick()
        spent = 1000 * (time.process_time() - start)
        luma = planes(tick.picture)[0]
        before = self._last or tick
        step = float(cv2.absdiff(luma, planes(before.picture)[0]).mean())
        fades = tick.other is not None or before.other is not None
        self._switches += tick.other is not None and before.other is None
        sharpness = float(cv2.Laplacian(luma, cv2.CV_32F).std())
        self._rows.append((fades, tick.speaking, step, sharpness, spent))
        self._last = tick

    def verdict(self) -> Switches:
        table = np.array(self._rows[1:])
        fades, speaking = table[:, 0] > 0, table[:, 1] > 0
        steps, sharpness, spent = table[:, 2], table[:, 3], table[:, 4]
        return Switches(
            self._switches,
            round(float(steps[fades].max() / np.quantile(steps[~fades], 0.99)), 2),
            round(float(sharpness[fades].min() / np.median(sharpness[~fades])), 2),
            round(float(np.median(spent[fades & speaking])), 1),
            round(float(np.median(spent[~fades & speaking])), 1),
        )
