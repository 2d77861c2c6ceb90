"""Avatars in memory: loaded once, shared by all who show them, let go when nobody has asked for a while."""

import asyncio
import hashlib
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import cv2

from engine.anchor.card import AvatarCard, read_card
from engine.anchor.fitted import FittedAvatar
from engine.anchor.package import Avatar, find_avatar, list_avatars, mouth_folder
from engine.anchor.pictures import PICTURES, content_of
from engine.array_store import ArrayStore
from engine.errors import AvatarError
from engine.memory import free_memory
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, read_sheet
from engine.picture.fit import Size
from engine.speech.audio import FRAME_RATE
from engine.speech.mel import SILENT_WINDOW
from streaming.errors import Busy, NotFound
from streaming.shelf import Shelf

KEEP_MB = 2048
"""Memory of avatars that are kept for whoever asks next."""

KEEP_S = 600.0
"""How long an avatar is kept that nobody asks for."""

Version = tuple[tuple[str, int, int], ...]
"""What tells whether files have changed: each by name, time of change and size."""

_WORK_BYTES = 64 << 20
"""What reading an avatar takes for a moment: decoder, encoder of faces."""

_RETRY_S = "30"

_GIVE_WAY = 10
"""Niceness of threads that read avatars while others are live."""

_FIRST = FRAME_RATE // 2
"""Frames of a posture that are computed before it is shown; the background is faster than the presenter."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Loaded:
    """An avatar, at its own size or fitted into a canvas, and the mouth that all who show it share.

    `version` is that of its files when they were read; `features` belong to them, whatever the size.
    """

    avatar: Avatar
    features: AnchorFeatures
    mouth: MouthRuntime
    version: Version

    @property
    def nbytes(self) -> int:
        """Memory that it takes; files that are mapped are not counted."""
        own = self.avatar.nbytes
        return own if isinstance(self.avatar, FittedAvatar) else own + self.features.nbytes

    def frames(self) -> tuple[list[int], list[int]]:
        """Its frames in the order in which features are likely to be needed: at once, and later."""
        clips = sorted(self.avatar.card.clips, key=lambda clip: clip.kind not in ("idle", "talking"))
        pieces: tuple[list[int], list[int], list[int]] = ([], [], [])
        for clip in clips:
            start = self.avatar.card.start(clip.name)
            second, end = start + min(_FIRST, clip.frames), start + clip.frames
            pieces[0 if clip.kind in ("idle", "talking") else 1].extend(range(start, second))
            pieces[2].extend(range(second, end))
        at_once, soon, later = pieces
        return at_once, soon + later

    def warm(self, frame: int) -> None:
        """Compute what showing a frame needs, if that is not done. Blocks, some milliseconds."""
        self.avatar.frame(frame)
        self.avatar.place(frame)
        _ = self.features[frame]

    def rehearse(self) -> None:
        """Compute what is needed at once, and draw: a GPU prepares itself with the first picture. Blocks."""
        at_once, _ = self.frames()
        _ = self.avatar.poses
        for frame in at_once:
            self.warm(frame)
        self.mouth.decode(SILENT_WINDOW[None], [self.features[0]])


class Library:
    """The avatars that `engine.anchor.package` finds, with mouths opened by `open_mouth` (folder -> runtime).

    One that has changed on disk is read anew, while those who hold the former keep it. `pinned` is never let
    go; of the others, `keep_mb` of those asked for last are kept. `store` keeps on disk what was computed of
    them. One that would need more memory than there is (`free_memory`, bytes or None) is refused.
    """

    def __init__(
        self,
        open_mouth: Callable[[Path], MouthRuntime],
        keep_mb: float = KEEP_MB,
        keep_s: float = KEEP_S,
        store: ArrayStore | None = None,
        free_memory: Callable[[], int | None] = free_memory,
    ) -> None:
        self._open_mouth = open_mouth
        self._keep_s = keep_s
        self._store = store
        self._free_memory = free_memory
        self._shelf: Shelf[tuple[str, Size | None], Loaded] = Shelf(
            keep_mb * 2**20, keep_s, lambda loaded: 0 if loaded is self.pinned else loaded.nbytes
        )
        self._mouths: WeakValueDictionary[bytes, MouthRuntime] = WeakValueDictionary()
        self._opening = threading.Lock()
        self._loading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._trimming: asyncio.TimerHandle | None = None
        self.pinned: Loaded | None = None

    async def get(self, name: str, canvas: Size | None = None) -> Loaded:
        """An avatar, fitted into a `canvas` where one is given.

        Raises NotFound, AvatarError, or Busy when there is too little memory for it.
        """
        folder = await asyncio.to_thread(find, name)
        loop = asyncio.get_running_loop()
        async with self._loading.setdefault(name, asyncio.Lock()):
            loaded = await self._current(folder, (name, None), lambda: self._load(folder))
            if canvas not in (None, loaded.avatar.size):
                loaded = await self._current(folder, (name, canvas), lambda: _fitted(loaded, canvas))
        self._shelf.trim(loop.time())
        if self._trimming:
            self._trimming.cancel()
        self._trimming = loop.call_later(self._keep_s, lambda: self._shelf.trim(loop.time()))
        return loaded

    async def _current(
        self, folder: Path, key: tuple[str, Size | None], load: Callable[[], Loaded]
    ) -> Loaded:
        now = asyncio.get_running_loop().time
        found = self._shelf.get(key, now())
        if found and found.version == await asyncio.to_thread(version, folder, found.avatar.mouth):
            return found
        try:
            loaded = await asyncio.to_thread(load)
        except (MemoryError, cv2.error) as error:
            if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
                raise
            self._shelf.clear()
            raise _too_little(folder.name, "more memory than there is") from error
        self._shelf.put(key, loaded, now())
        return loaded

    def _load(self, folder: Path) -> Loaded:
        card = read_card(folder)
        mouth = mouth_folder(folder, card)
        self._check_memory(folder, card, mouth)
        read = version(folder, mouth)  # before they are read: what changes meanwhile is read again
        # Beside each other; the mouth's threads must not give way, they draw for everybody.
        with ThreadPoolExecutor(1, initializer=give_way) as helper:
            loading = helper.submit(Avatar.load, folder, self._store)
            content = _digest(_mouth_files(mouth))
            whole = self._mouth(mouth, content)
            avatar = loading.result()
        runtime = whole.restricted(avatar.paste_region)
        features = AnchorFeatures(avatar, runtime, self._store, content.hex())
        return Loaded(avatar, features, runtime, read)

    def _check_memory(self, folder: Path, card: AvatarCard, mouth: Path) -> None:
        """Raises Busy when the avatar would not fit beside what is there."""
        needed, free = _WORK_BYTES + self._own_bytes(folder, card, mouth), self._free_memory()
        if free is not None and needed > free:
            self._shelf.clear()
            free = self._free_memory()
        if free is not None and needed > free:
            raise _too_little(folder.name, f"{needed >> 20} MB of memory, and {free >> 20} MB are free")

    def _own_bytes(self, folder: Path, card: AvatarCard, mouth: Path) -> int:
        """What an avatar takes that cannot be kept on disk."""
        width, height = card.size
        pictures = card.frames * (width * height * 3 // 2 + card.crop_size**2 * 3)
        features = card.frames * sum(2 * math.prod(shape) for shape in read_sheet(mouth).maps)
        if self._store and (
            self._store.has_room(pictures + features)
            or self._store.rows(card.frames, PICTURES, content_of(folder, card)).whole
        ):
            return 0
        return pictures + features

    def _mouth(self, folder: Path, key: bytes) -> MouthRuntime:
        # By content: packages hold copies of the same mouth.
        mouth = self._mouths.get(key)
        if mouth is None:
            with self._opening:
                mouth = self._mouths.get(key) or self._open_mouth(folder)
                self._mouths[key] = mouth
        return mouth


def _too_little(name: str, needed: str) -> Busy:
    return Busy(
        f"The presenter {name} needs {needed}; end other sessions, or give the server more.",
        {"Retry-After": _RETRY_S},
    )


def find(name: str) -> Path:
    """The folder of an avatar. Raises NotFound; a path from the network is never followed."""
    known = list_avatars()
    if name not in known:
        raise NotFound(
            f"There is no avatar {name!r}; known avatars: {', '.join(known) or 'none is installed'}."
        )
    return find_avatar(name)


def version(folder: Path, mouth: Path | None = None) -> Version:
    """Of the files of an avatar, and of its mouth where one is given.

    Raises AvatarError while they are being taken away.
    """
    try:
        own = _facts([*folder.iterdir(), *folder.glob("clips/*")])
        return own + _facts(_mouth_files(mouth)) if mouth else own
    except OSError as error:
        raise AvatarError(
            f"The avatar {folder.name} cannot be read ({error.strerror}); try again."
        ) from error


def give_way() -> None:
    """Have this thread, and those that it starts, take only the time that ticks leave."""
    if sys.platform == "linux":  # elsewhere priorities are those of whole processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _GIVE_WAY)


def _facts(paths: list[Path]) -> Version:
    files = [(path, path.stat()) for path in sorted(paths) if path.is_file()]
    return tuple((str(path), facts.st_mtime_ns, facts.st_size) for path, facts in files)


def _digest(paths: list[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def _mouth_files(folder: Path) -> list[Path]:
    return [folder / name for name in (FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET)]


def _fitted(original: Loaded, canvas: Size) -> Loaded:
    fitted = FittedAvatar(original.avatar, canvas)
    return Loaded(fitted, original.features, original.mouth, original.version)
