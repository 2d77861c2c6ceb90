"""MP4: a recording that can be played at any time, also one that was cut short."""

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from pathlib import Path

from engine.errors import KouboError
from engine.picture.video import KEEP_METADATA
from streaming.credentials import mp4_signer
from streaming.labels import aigc_metadata
from streaming.outlets.base import Assignment, Outlet, Report
from streaming.outlets.errors import OutletError
from streaming.outlets.muxing import MuxedOutlet
from streaming.outlets.recordings import SpaceWatched, recordings_folder
from streaming.outlets.wire import Job

logger = logging.getLogger(__name__)

_SIGN_S = 2.0

# Fragments begin with key frames, every two seconds; what is lost when the power fails is the last one.
_FRAGMENTED = {
    "movflags": f"frag_keyframe+empty_moov+default_base_moof+{KEEP_METADATA}",
    "flush_packets": "1",
}


def open_mp4(given: Assignment) -> Outlet:
    """Records into the folder for recordings. Raises Unprocessable when there is none."""
    folder = recordings_folder(given)

    async def job(keyframe: bytes, audio_config: bytes) -> Job:
        path = await asyncio.to_thread(_take, folder, given.name)
        outlet.place = path.name
        return Job(
            "mp4",
            "file",
            str(path),
            muxer_options=_FRAGMENTED,
            metadata=aigc_metadata(given.settings, path.stem),
            keyframe=keyframe,
            audio_config=audio_config,
        )

    def explain(reason: str) -> OutletError:
        return OutletError(f"The recording cannot be written ({reason}); check the folder for recordings.")

    outlet = MuxedOutlet(given.hub, job, explain, revocable=False)
    kept = WithoutEmpty(outlet, folder)
    watched = SpaceWatched(kept, folder, given.settings.recordings_min_free_mb)
    signer = mp4_signer(given.settings)
    return Signed(watched, folder, signer.sign) if signer else watched


class WithoutEmpty:
    """A recording that leaves no empty file where nothing could be written."""

    def __init__(self, outlet: Outlet, folder: Path) -> None:
        self._outlet = outlet
        self._folder = folder

    @property
    def place(self) -> str | None:
        """The file's name."""
        return self._outlet.place

    async def run(self, report: Report) -> None:
        """One recording; see `Outlet`."""
        before = self.place
        try:
            await self._outlet.run(report)
        finally:
            if self.place is not None and self.place != before:
                # In a thread that nobody waits for: a disk may be dead.
                asyncio.get_running_loop().run_in_executor(None, _drop_empty, self._folder / self.place)


class Signed:
    """A recording that gets content credentials when it is over."""

    def __init__(self, outlet: Outlet, folder: Path, sign: Callable[[Path], None]) -> None:
        self._outlet = outlet
        self._folder = folder
        self._sign = sign
        self._signing: set[asyncio.Task[None]] = set()

    @property
    def place(self) -> str | None:
        """The file's name."""
        return self._outlet.place

    async def run(self, report: Report) -> None:
        """One recording; see `Outlet`. A long one is still being signed when this is over."""
        before = self.place
        try:
            await self._outlet.run(report)
        finally:
            if self.place is not None and self.place != before:
                signing = asyncio.create_task(self._finish(self._folder / self.place), name="sign")
                self._signing.add(signing)
                signing.add_done_callback(self._signing.discard)
                await asyncio.wait([signing], timeout=_SIGN_S)

    async def _finish(self, path: Path) -> None:
        try:
            await asyncio.to_thread(self._sign, path)
        except KouboError as error:
            logger.warning("%s", error)


def _drop_empty(path: Path) -> None:
    try:
        if path.stat().st_size == 0:
            path.unlink()
    except OSError as error:
        logger.warning("%s may be left empty (%s)", path, error.strerror)


def _take(folder: Path, name: str) -> Path:
    """An empty file under a name that nobody has: each attempt writes one of its own."""
    for number in count(1):
        path = folder / (f"{name}.mp4" if number == 1 else f"{name}-{number}.mp4")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers do not end")
