"""LiveAvatar: the core of a session, without I/O. Speech in, ticks out."""

import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import IDLE, Clip
from engine.anchor.director import Director, Shot, share_left
from engine.anchor.morph import Morph
from engine.anchor.package import Avatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.paste import Paster, Place
from engine.picture.yuv import Frame
from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16
from engine.speech.buffer import SpeechBuffer
from engine.speech.mel import SILENT_WINDOW, Mel

_RAMP = 1 / 3  # share of the mouth that one tick adds or takes: idle and speaking meet within three ticks
_CUT_RAMP = 1 / 2  # after an interrupt
_RECAST_TICKS = 4  # the last picture of the former presenter fades out


@dataclass(frozen=True, slots=True)
class Tick:
    """40 ms of presenter, picture and sound in one value, so that they cannot drift apart.

    `index` counts from 0. `picture` I420 uint8 (h * 3 // 2, w), perhaps shared: read-only. `sound` int16
    (640,) mono at 16 kHz. `speaking`: somebody speaks now or within the look-ahead. `mouth_late`: the speech
    of this tick had begun but did not arrive in time, so the tick is silent and idle. `position`: where this
    tick's sound ends on the line of all pushed speech (what `LiveAvatar.push` returns is on it).
    `frame`: number of the frame of `avatar` in the picture, of its clip named `clip`. While one clip fades
    into another, `other` is a frame of the one that is left, `other_share` what it still has of the picture,
    in (0, 1), and `morph` mixes what belongs to both frames from `other` to `frame`, as the picture was.
    For some ticks after a `recast`, `before` is the last tick of the former presenter, and `before_share`
    what it still has of the picture.
    """

    index: int
    picture: Frame
    sound: NDArray[np.int16]
    speaking: bool
    mouth_late: bool
    position: int = 0
    frame: int = 0
    other: int | None = None
    other_share: float = 0.0
    morph: Morph | None = None
    clip: str = IDLE
    avatar: str = ""
    before: "Tick | None" = None
    before_share: float = 0.0


@dataclass(frozen=True, slots=True)
class _Role:
    """A presenter and all that it is drawn with."""

    avatar: Avatar
    features: AnchorFeatures
    mouth: MouthRuntime
    director: Director
    pasters: tuple[Paster, Paster]
    """By turns, one for each change of clip: while a fade lasts both sides need theirs."""


def _role(avatar: Avatar, features: AnchorFeatures, mouth: MouthRuntime) -> _Role:
    director = Director(avatar.card.clips, avatar.poses)
    return _Role(avatar, features, mouth, director, (Paster(), Paster()))


class LiveAvatar:
    """One presenter that says what it is given. Same pushes between same ticks, same ticks out.

    Everything but `tick` may be called from another thread than `tick`, and is quick.
    """

    def __init__(self, avatar: Avatar, features: AnchorFeatures, mouth: MouthRuntime) -> None:
        self._role = _role(avatar, features, mouth)
        self._lock = threading.Lock()
        self._speech = SpeechBuffer()
        self._index = 0
        self._strength = 0.0
        self._fall = _RAMP
        self._flowing = False
        self._fresh = False
        self._last: Tick | None = None
        self._before: Tick | None = None
        self._since = 0  # ticks since the former presenter left

    @property
    def clips(self) -> tuple[Clip, ...]:
        """What `show` can be asked for, the idle clip first."""
        with self._lock:
            return self._role.avatar.card.clips

    def show(self, clip: str) -> bool:
        """Ask for a clip by name; raises AvatarError for one that is not there.

        A greeting or gesture is shown once, after those that wait already; an idle or talking clip becomes
        the one of its kind. False when that changes nothing: it is on, or waits, already.
        """
        with self._lock:
            return self._role.director.ask(clip)

    def recast(self, avatar: Avatar, features: AnchorFeatures, mouth: MouthRuntime) -> None:
        """Another presenter from the next tick on; what is being said goes on, clips asked for are forgotten.

        The former picture fades out within some ticks; where the sizes differ there is a cut, and pictures
        have the new size.
        """
        role = _role(avatar, features, mouth)
        with self._lock:
            self._role, self._fresh = role, True

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
        with self._lock:
            ready, speaking = self._speech.ready, self._speech.voiced
            late = self._flowing and not ready and self._speech.backlog > 0
            window = self._speech.window() if speaking else SILENT_WINDOW
            sound = self._speech.advance()
            position = self._speech.position
            self._flowing = (speaking if ready else late) and self._speech.backlog > 0
            self._move(speaking)
            strength = self._strength
            role, fresh, self._fresh = self._role, self._fresh, False
            shot = role.director.next(speaking)
        picture, morph = self._show(role, shot, window, strength)
        picture, before_share = self._fade_in(picture, fresh)
        tick = Tick(
            self._index,
            picture,
            to_pcm16(sound),
            speaking,
            late,
            position,
            frame=shot.frame,
            other=shot.other,
            other_share=shot.other_share,
            morph=morph,
            clip=shot.clip,
            avatar=role.avatar.name,
            before=self._before,
            before_share=before_share,
        )
        self._index += 1
        self._last = tick
        return tick

    def _move(self, speaking: bool) -> None:
        if speaking:
            self._strength = min(1.0, self._strength + _RAMP)
            self._fall = _RAMP
        else:
            # Rounding must not leave a trace of mouth behind.
            self._strength = self._strength - self._fall if self._strength > self._fall + 1e-6 else 0.0

    def _show(self, role: _Role, shot: Shot, window: Mel, strength: float) -> tuple[Frame, Morph | None]:
        """The presenter in one clip, or on the way from one to the next."""
        picture = self._draw(role, shot.take, shot.frame, window, strength)
        if shot.other is None:
            role.pasters[(shot.take + 1) % 2].rest()
            return picture, None
        leaving = self._draw(role, shot.take - 1, shot.other, window, strength)
        morph = Morph(role.avatar.frame(shot.other), role.avatar.frame(shot.frame))
        return morph.mix(leaving, picture, 1 - shot.other_share), morph

    def _draw(self, role: _Role, take: int, frame: int, window: Mel, strength: float) -> Frame:
        """One anchor frame with its mouth."""
        avatar, card, paster = role.avatar, role.avatar.card, role.pasters[take % 2]
        strength *= card.shares[frame]
        if strength == 0:
            paster.rest()
            return avatar.frame(frame)
        patch = role.mouth.decode(window[None], [role.features[frame]])[0]
        place = Place(card.crops[frame], avatar.mask(frame), avatar.face(frame), card.mouth_box)
        return paster.paste(avatar.frame(frame), patch, place, strength)

    def _fade_in(self, picture: Frame, fresh: bool) -> tuple[Frame, float]:
        """`picture` with what is left of the former presenter's last one, and how much that is."""
        last = self._last
        if fresh and last is not None:
            same = last.picture.shape == picture.shape
            self._before, self._since = replace(last, before=None) if same else None, 0
        if self._before is None:
            return picture, 0.0
        if self._since == _RECAST_TICKS:
            self._before = None
            return picture, 0.0
        share = share_left(self._since, _RECAST_TICKS)
        self._since += 1
        return np.asarray(
            cv2.addWeighted(self._before.picture, share, picture, 1 - share, 0), np.uint8
        ), share
