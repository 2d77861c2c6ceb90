"""Who can go on stage: avatars by name, loaded once and shared by all their sessions."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from engine.anchor.card import ANCHOR, read_card
from engine.anchor.crop import Picture
from engine.anchor.matte import Mattes
from engine.anchor.package import Avatar, find_avatar, list_avatars
from engine.errors import AvatarError
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import Features, MouthRuntime
from engine.picture.video import read_i420
from engine.picture.yuv import to_rgb
from engine.speech.audio import Samples
from engine.speech.mel import SILENT_WINDOW, Mel
from streaming.errors import Busy, NotFound

_TIMES_KEPT = 250
_JPEG_QUALITY = 85


class Presenter(Protocol):
    """What a session drives; `engine.live.LiveAvatar` is the real one. Everything but `tick` is quick."""

    @property
    def backlog_s(self) -> float:
        """Seconds of speech not yet spoken."""
        ...

    def push(self, speech: Samples, *, live: bool = False) -> int:
        """Add speech, float32 mono in [-1, 1] at 16 kHz; returns where it ends on `Tick.position`'s line."""
        ...

    def finish(self) -> None:
        """An utterance ends here."""
        ...

    def interrupt(self) -> int:
        """Forget all speech; returns the samples dropped."""
        ...

    def tick(self) -> Tick:
        """The next 40 ms; may be called from any thread, one at a time."""
        ...


@dataclass(frozen=True, slots=True)
class MouthFigures:
    """What draws a session's mouth; `ms_per_frame` is the median of its last frames, 0 before the first."""

    runtime: str
    precision: str
    ms_per_frame: float


@dataclass(frozen=True, slots=True)
class AvatarInfo:
    """An avatar as clients see it; `size` is (width, height) in pixels."""

    name: str
    title: dict[str, str]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """A presenter on stage in one session, the figures of its mouth, its (width, height) in pixels, and its
    mattes where it can stand before a clear background.
    """

    presenter: Presenter
    figures: Callable[[], MouthFigures]
    size: tuple[int, int]
    mattes: Mattes | None = None


class Cast(Protocol):
    """The avatars a server offers."""

    def list(self) -> list[AvatarInfo]:
        """Every avatar that can be read, shipped ones first."""
        ...

    def preview(self, name: str) -> bytes:
        """A JPEG picture of an avatar. Raises NotFound."""
        ...

    async def warm_up(self) -> None:
        """Make the first session quick to open. Raises a KouboError when it could not be opened at all."""
        ...

    async def enter(self, name: str | None) -> tuple[str, Part]:
        """A new presenter for a session: (its avatar's name, the part). Raises NotFound or AvatarError."""
        ...


class TimedMouth:
    """A mouth runtime that knows how long its frames take; one a session, around the shared one.

    `observe` hears the seconds of each frame.
    """

    def __init__(self, mouth: MouthRuntime, observe: Callable[[float], None]) -> None:
        self._mouth = mouth
        self._observe = observe
        self._times: deque[float] = deque(maxlen=_TIMES_KEPT)
        self.name = mouth.name
        self.precision = mouth.precision
        self.size = mouth.size

    def encode(self, faces: Picture) -> list[Features]:
        """As the mouth does."""
        return self._mouth.encode(faces)

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """As the mouth does, timed."""
        start = time.perf_counter()
        faces = self._mouth.decode(mels, features)
        seconds = (time.perf_counter() - start) / max(1, len(faces))
        self._times.append(seconds)
        self._observe(seconds)
        return faces

    def figures(self) -> MouthFigures:
        """The runtime and the median time of its last frames."""
        times = list(self._times)
        median = 1000 * float(np.median(times)) if times else 0.0
        return MouthFigures(self.name, self.precision, round(median, 2))


@dataclass(frozen=True, slots=True)
class _Loaded:
    avatar: Avatar
    features: AnchorFeatures
    mouth: MouthRuntime


def _rehearse(loaded: _Loaded) -> None:
    """Computes the features, and draws once: a GPU prepares itself with the first picture."""
    loaded.features.fill()
    loaded.mouth.decode(SILENT_WINDOW[None], [loaded.features[0]])


class EngineCast:
    """The avatars found by `engine.anchor.package`, with mouths opened by `open_mouth` (folder -> runtime).

    An avatar is loaded when first asked for, in a thread; mouths are shared by the avatars that name the same
    folder. `observe` hears how many seconds each of their pictures took.
    """

    def __init__(
        self,
        open_mouth: Callable[[Path], MouthRuntime],
        default: str | None = None,
        observe: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._open_mouth = open_mouth
        self._default = default
        self._observe = observe
        self._loaded: dict[str, _Loaded] = {}
        self._mouths: dict[Path, MouthRuntime] = {}
        self._previews: dict[str, bytes] = {}
        self._loading = asyncio.Lock()

    def list(self) -> list[AvatarInfo]:
        """Every avatar whose card can be read, shipped ones first."""
        found = []
        for name in list_avatars():
            try:
                card = read_card(find_avatar(name))
            except AvatarError:
                # Asking for it by name says what is wrong with it.
                continue
            found.append(AvatarInfo(name, card.title, card.size))
        return found

    def preview(self, name: str) -> bytes:
        """The first picture of the anchor video as JPEG. Raises NotFound or AvatarError. Blocks."""
        if name not in self._previews:
            frame = next(iter(read_i420(self._folder(name) / ANCHOR)), None)
            if frame is None:
                raise AvatarError(f"The avatar {name} is damaged: {ANCHOR} is empty; prepare it again.")
            options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
            _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(to_rgb(frame), cv2.COLOR_RGB2BGR), options)
            self._previews[name] = jpeg.tobytes()
        return self._previews[name]

    async def warm_up(self) -> None:
        """Load the default avatar, compute its features and draw once."""
        name, _ = await self.enter(None)
        await asyncio.to_thread(_rehearse, self._loaded[name])

    async def enter(self, name: str | None) -> tuple[str, Part]:
        """A new presenter, of the default avatar when `name` is None. Raises NotFound or AvatarError."""
        chosen = name or self._default or next(iter(list_avatars()), None)
        if chosen is None:
            raise Busy(
                "No avatar is installed; prepare one with `koubo avatar prepare`, or set KOUBO_AVATARS."
            )
        async with self._loading:
            if chosen not in self._loaded:
                self._loaded[chosen] = await asyncio.to_thread(self._load, chosen)
        loaded = self._loaded[chosen]
        mouth = TimedMouth(loaded.mouth, self._observe)
        presenter = LiveAvatar(loaded.avatar, loaded.features, mouth)
        return chosen, Part(presenter, mouth.figures, loaded.avatar.card.size, loaded.avatar.mattes)

    def _load(self, name: str) -> _Loaded:
        avatar = Avatar.load(self._folder(name))
        if avatar.mouth not in self._mouths:
            self._mouths[avatar.mouth] = self._open_mouth(avatar.mouth)
        mouth = self._mouths[avatar.mouth]
        return _Loaded(avatar, AnchorFeatures(avatar, mouth), mouth)

    def _folder(self, name: str) -> Path:
        # Only names from the list: a path from the network is never followed.
        if name not in list_avatars():
            known = ", ".join(list_avatars()) or "none is installed"
            raise NotFound(f"There is no avatar {name!r}; known avatars: {known}.")
        return find_avatar(name)
