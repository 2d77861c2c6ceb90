"""LiveAvatar: the core of a session, without I/O. Speech in, ticks out."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import IDLE, Clip
from engine.anchor.crop import Picture
from engine.anchor.director import Director, Shot, share_left
from engine.anchor.morph import Morph
from engine.anchor.package import Avatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.request import MouthRequest
from engine.mouth.runtime import MouthRuntime
from engine.picture.paste import Paster
from engine.picture.yuv import Frame
from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16
from engine.speech.buffer import SpeechBuffer
from engine.speech.mel import SILENT_WINDOW

_RAMP = 1 / 3  # share of the mouth that one tick adds or takes: idle and speaking meet within three ticks
_CUT_RAMP = 1 / 2  # after an interrupt
_RECAST_TICKS = 4  # the last picture of the former presenter fades out


@dataclass(frozen=True, slots=True)
class Tick:
    """40 ms of presenter, picture and sound in one value, so that they cannot drift apart.

    `index` counts from 0. `picture` I420 uint8 (h * 3 // 2, w), perhaps shared: read-only. `sound` int16
    (640,) mono at 16 kHz. `speaking`: somebody speaks now or within the look-ahead. `mouth_late`: the speech
    of this tick had begun but did not arrive in time, so the tick is silent and idle. `mouth_repeated`: a
    mouth was not drawn in time and the one before it is seen again. `position`: where this tick's sound ends
    on the line of all pushed speech (what `LiveAvatar.push` returns is on it).
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
    mouth_repeated: bool = False
    position: int = 0
    frame: int = 0
    other: int | None = None
    other_share: float = 0.0
    morph: Morph | None = None
    clip: str = IDLE
    avatar: str = ""
    before: "Tick | None" = None
    before_share: float = 0.0


class _Hand:
    """Puts mouths into one clip after another; remembers the last one, for when the next is not in time."""

    def __init__(self) -> None:
        self._paster = Paster()
        self._last: Picture | None = None

    def rest(self) -> None:
        """No mouth is drawn for now; the next one starts afresh."""
        self._paster.rest()
        self._last = None

    def paste(self, role: "_Role", frame: int, patch: Picture | None, strength: float) -> Frame:
        """An anchor frame with its mouth, with the last one when there is no patch, as it is without any."""
        self._last = self._last if patch is None else patch
        anchor = role.avatar.frame(frame)
        if self._last is None:
            return anchor
        return self._paster.paste(anchor, self._last, role.avatar.place(frame), strength)


@dataclass(frozen=True, slots=True)
class _Role:
    """A presenter and all that it is drawn with."""

    avatar: Avatar
    features: AnchorFeatures
    mouth: MouthRuntime
    director: Director
    hands: tuple[_Hand, _Hand]
    """By turns, one for each change of clip: while a fade lasts both sides need theirs."""


def _role(avatar: Avatar, features: AnchorFeatures, mouth: MouthRuntime) -> _Role:
    director = Director(avatar.card.clips, avatar.poses)
    return _Role(avatar, features, mouth, director, (_Hand(), _Hand()))


@dataclass(frozen=True, slots=True)
class _Part:
    """One anchor frame that a tick shows, and how strong its mouth is; 0: the frame as it is."""

    take: int
    frame: int
    strength: float


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A tick that `LiveAvatar.begin` began: it needs the mouths of `requests`, 0 to 2, then `complete`."""

    requests: tuple[MouthRequest, ...]
    _role: _Role
    _fresh: bool
    _shot: Shot
    _parts: tuple[_Part, ...]
    _sound: Samples
    _speaking: bool
    _late: bool
    _position: int


class LiveAvatar:
    """One presenter that says what it is given. Same pushes between same ticks, same ticks out.

    A tick has three steps: `begin`, the mouths that it asks for, `complete`; `tick` is the three in one.
    Ticks are made one after another, by whatever thread; everything else may be called at any time, between
    the steps too, from any thread, and is quick.
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
        pending = self.begin()
        patches = [one.mouth.decode(one.window[None], [one.features])[0] for one in pending.requests]
        return self.complete(pending, patches)

    def begin(self) -> Pending:
        """Begin the next 40 ms: speech and clips move on, no mouth is drawn. Then `complete` it.

        Quick, but for the features of a frame that nobody has needed yet.
        """
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
        parts = _parts(role, shot, strength)
        requests = tuple(
            MouthRequest(role.mouth, window, role.features[part.frame]) for part in parts if part.strength
        )
        return Pending(requests, role, fresh, shot, parts, sound, speaking, late, position)

    def complete(self, pending: Pending, patches: Sequence[Picture | None]) -> Tick:
        """The tick that was begun last, with a drawn mouth, RGB uint8 (S, S, 3), for each of its requests.

        None for one that is not there in time: the last mouth drawn for that clip is pasted again, onto the
        frame of now; where there is none, the frame is shown as it is. ValueError for too few or too many.
        """
        if len(patches) != len(pending.requests):
            raise ValueError(f"{len(patches)} patches for {len(pending.requests)} requests")
        shot, role = pending._shot, pending._role
        picture, morph = self._show(pending, patches)
        picture, before_share = self._fade_in(picture, pending._fresh)
        tick = Tick(
            self._index,
            picture,
            to_pcm16(pending._sound),
            pending._speaking,
            pending._late,
            any(patch is None for patch in patches),
            pending._position,
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

    def _show(self, pending: Pending, patches: Sequence[Picture | None]) -> tuple[Frame, Morph | None]:
        """The presenter in one clip, or on the way from one to the next."""
        role, shot, left = pending._role, pending._shot, iter(patches)
        pictures = []
        for part in pending._parts:
            hand = role.hands[part.take % 2]
            if part.strength:
                pictures.append(hand.paste(role, part.frame, next(left), part.strength))
            else:
                hand.rest()
                pictures.append(role.avatar.frame(part.frame))
        if shot.other is None:
            role.hands[(shot.take + 1) % 2].rest()
            return pictures[0], None
        morph = Morph(role.avatar.frame(shot.other), role.avatar.frame(shot.frame))
        return morph.mix(pictures[1], pictures[0], 1 - shot.other_share), morph

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


def _parts(role: _Role, shot: Shot, strength: float) -> tuple[_Part, ...]:
    """The frames that a shot shows: the one of its clip, and of the clip that is being left, if any."""
    shares = role.avatar.card.shares
    part = _Part(shot.take, shot.frame, strength * shares[shot.frame])
    if shot.other is None:
        return (part,)
    return part, _Part(shot.take - 1, shot.other, strength * shares[shot.other])
