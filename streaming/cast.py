"""Who can go on stage: avatars by name, loaded once and shared by all their sessions."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from engine.anchor.card import ANCHOR, Clip, read_card
from engine.anchor.crop import Picture
from engine.anchor.matte import Mattes
from engine.anchor.package import Avatar, find_avatar, list_avatars
from engine.array_store import ArrayStore
from engine.errors import AvatarError
from engine.live import LiveAvatar, Pending, Tick
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.fit import Size
from engine.picture.video import read_i420
from engine.picture.yuv import to_rgb
from engine.speech.audio import Samples
from streaming.errors import Busy
from streaming.library import KEEP_MB, Library, Loaded, Version, find, give_way, version

_TIMES_KEPT = 250
_JPEG_QUALITY = 85


class Presenter(Protocol):
    """What a session drives; `engine.live.LiveAvatar` is the real one. Everything but `begin` and
    `complete` is quick."""

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

    def show(self, clip: str) -> bool:
        """Ask for a clip; False when it is on, or waits, already. Raises AvatarError for an unknown one."""
        ...

    def recast(self, avatar: Avatar, features: AnchorFeatures, mouth: MouthRuntime) -> None:
        """Another presenter from the next tick on; what is being said goes on."""
        ...

    def begin(self) -> Pending:
        """Begin the next 40 ms; any thread may, one tick after another."""
        ...

    def complete(self, pending: Pending, patches: Sequence[Picture | None]) -> Tick:
        """The tick that was begun, with a drawn mouth for each of its requests; None: not in time."""
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


class MouthTimes:
    """How long the mouths of a session took to draw, each its share of a batch; `observe` hears it too."""

    def __init__(self, mouth: MouthRuntime, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._times: deque[float] = deque(maxlen=_TIMES_KEPT)
        self.name = mouth.name
        self.precision = mouth.precision

    def add(self, seconds: float) -> None:
        """A mouth was drawn; any thread may tell."""
        self._times.append(seconds)
        self._observe(seconds)

    def figures(self) -> MouthFigures:
        """The runtime and the median time of its last frames."""
        times = list(self._times)
        median = 1000 * float(np.median(times)) if times else 0.0
        return MouthFigures(self.name, self.precision, round(median, 2))


@dataclass(frozen=True, slots=True)
class Role:
    """An avatar as one session shows it, under the `name` that it was asked for by.

    `loaded` is shared by all sessions that show it, the times of `mouth` are this one's own.
    """

    name: str
    loaded: Loaded
    mouth: MouthTimes

    @property
    def clips(self) -> tuple[Clip, ...]:
        """Its clips, the idle one first."""
        return self.loaded.avatar.card.clips

    @property
    def mattes(self) -> Mattes | None:
        """Its mattes, None where it cannot stand before a clear background."""
        return self.loaded.avatar.mattes

    def join(self, presenter: Presenter) -> None:
        """Have a presenter be this avatar from the next tick on."""
        presenter.recast(self.loaded.avatar, self.loaded.features, self.loaded.mouth)


@dataclass(frozen=True, slots=True)
class Part:
    """A presenter on stage in one session, and the avatar that it is now."""

    presenter: Presenter
    role: Role

    @property
    def size(self) -> Size:
        """(width, height) of its pictures."""
        return self.role.loaded.avatar.size


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

    async def fill(self) -> None:
        """After `warm_up`, compute in the background what the first session may need later."""
        ...

    async def enter(self, name: str | None) -> Part:
        """A new presenter for a session, the default avatar when none is named. NotFound or AvatarError."""
        ...

    async def role(self, name: str, canvas: Size) -> Role:
        """An avatar for pictures of this size, ready to be shown. Raises NotFound or AvatarError."""
        ...


class EngineCast:
    """The avatars found by `engine.anchor.package`, with mouths opened by `open_mouth` (folder -> runtime).

    Avatars are loaded when first asked for, in a thread, and again when they have changed on disk; mouths are
    shared by the avatars that name the same folder. `observe` hears how many seconds each of their pictures
    took; `keep_mb` is how much memory avatars may take for whoever asks next; `store` keeps on disk what was
    computed of them.
    """

    def __init__(
        self,
        open_mouth: Callable[[Path], MouthRuntime],
        default: str | None = None,
        observe: Callable[[float], None] = lambda _: None,
        keep_mb: float = KEEP_MB,
        store: ArrayStore | None = None,
    ) -> None:
        self._default = default
        self._observe = observe
        self._store = store
        self._library = Library(open_mouth, keep_mb, store=store)
        self._previews: dict[str, tuple[Version, bytes]] = {}

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
        folder = find(name)
        now = version(folder)
        then, jpeg = self._previews.get(name, (None, b""))
        if then != now:
            jpeg = _preview(name, folder)
            for gone in self._previews.keys() - set(list_avatars()):
                del self._previews[gone]
            self._previews[name] = now, jpeg
        return jpeg

    async def warm_up(self) -> None:
        """Load the default avatar, compute what its first seconds need and draw once; it is never let go."""
        if self._store:
            await asyncio.to_thread(self._store.clear_leftovers)
        part = await self.enter(None)
        loaded = self._library.pinned = part.role.loaded
        await asyncio.to_thread(loaded.rehearse)

    async def fill(self) -> None:
        """Compute the other features of the default avatar, one frame at a time."""
        loaded = self._library.pinned
        if loaded is None:
            return
        with ThreadPoolExecutor(1, "fill", initializer=give_way) as background:
            for frame in range(loaded.avatar.frames):
                await asyncio.get_running_loop().run_in_executor(background, loaded.warm, frame)

    async def enter(self, name: str | None) -> Part:
        """A new presenter, of the default avatar when `name` is None. Raises NotFound or AvatarError."""
        chosen = name or self._default or next(iter(list_avatars()), None)
        if chosen is None:
            raise Busy("No avatar is installed; make one with `koubo avatar create`, or set KOUBO_AVATARS.")
        role = self._role(chosen, await self._library.get(chosen))
        return Part(LiveAvatar(role.loaded.avatar, role.loaded.features, role.loaded.mouth), role)

    async def role(self, name: str, canvas: Size) -> Role:
        """An avatar fitted to pictures of this size, its first frames computed. NotFound or AvatarError."""
        loaded = await self._library.get(name, canvas)
        await asyncio.to_thread(loaded.rehearse)
        return self._role(name, loaded)

    def _role(self, name: str, loaded: Loaded) -> Role:
        return Role(name, loaded, MouthTimes(loaded.mouth, self._observe))


def _preview(name: str, folder: Path) -> bytes:
    frame = next(iter(read_i420(folder / ANCHOR)), None)
    if frame is None:
        raise AvatarError(f"The avatar {name} is damaged: {ANCHOR} is empty; create it again.")
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(to_rgb(frame), cv2.COLOR_RGB2BGR), options)
    return jpeg.tobytes()
