"""The folder for files, and the space in it."""

import asyncio
import shutil
from pathlib import Path

from streaming.errors import Unprocessable
from streaming.outlets.base import Assignment, Outlet, Report
from streaming.outlets.errors import OutletError

_LOOK_S = 2.0
_MIB = 1024 * 1024
_FLOOR = _MIB // 4
"""Less than this is a full disk: FFmpeg's playlists go on without a word when a segment cannot be written."""

DISK_FULL = (
    "The disk is full, so the recording has ended; what was recorded until then plays. "
    "Make room, then begin another."
)


def recordings_folder(given: Assignment) -> Path:
    """The folder, made if it is not there. Raises Unprocessable when there is none or it cannot be used."""
    folder = given.settings.recordings
    if folder is None:
        raise Unprocessable("This server keeps no recordings; set KOUBO_RECORDINGS to a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unprocessable(
            "The folder for recordings cannot be made; set KOUBO_RECORDINGS to a folder of the server's."
        ) from error
    return folder


def require_space(folder: Path, least_free_mb: int) -> None:
    """Raises OutletError, a final one, when less than this is free, or nothing at all."""
    free = shutil.disk_usage(folder).free
    if free < _FLOOR:
        raise OutletError(DISK_FULL, final=True)
    free_mb = free // _MIB
    if free_mb < least_free_mb:
        raise OutletError(
            f"The recording stops: only {free_mb} MB are free where recordings are kept, and "
            f"{least_free_mb} MB must stay; delete old ones.",
            final=True,
        )


class SpaceWatched:
    """An outlet that ends in time when the disk fills up."""

    def __init__(self, outlet: Outlet, folder: Path, least_free_mb: int, look_s: float = _LOOK_S) -> None:
        self._outlet = outlet
        self._folder = folder
        self._least = least_free_mb
        self._look_s = look_s

    @property
    def place(self) -> str | None:
        """Where it writes."""
        return self._outlet.place

    async def run(self, report: Report) -> None:
        """One connection; see `Outlet`."""
        require_space(self._folder, self._least)
        writing = asyncio.ensure_future(self._outlet.run(report))
        watching = asyncio.ensure_future(self._watch())
        try:
            done, _ = await asyncio.wait([writing, watching], return_when=asyncio.FIRST_COMPLETED)
            await done.pop()
        finally:
            for task in (writing, watching):
                task.cancel()
            await asyncio.wait([writing, watching])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            await asyncio.to_thread(require_space, self._folder, self._least)
