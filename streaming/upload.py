"""Large bodies, written to a file as they come and never held whole in memory."""

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from streaming.errors import BadRequest, NoRoom, TooLarge, TooSlow, Unprocessable, WrongMediaType

STALL_S = 30.0
"""An upload of which nothing more comes for so long has broken off."""

_EMPTY = "The upload is empty; send a file."
_MIB = 1 << 20
_PART = _MIB
"""Bytes written at a time."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an upload may take: at most `most_mb`, and `spare_mb` of the disk must stay free."""

    most_mb: int
    spare_mb: int
    stall_s: float = STALL_S

    @property
    def most(self) -> int:
        """The largest upload in bytes."""
        return self.most_mb * _MIB

    def admit(self, folder: Path, size: int) -> None:
        """Raise TooLarge or NoRoom where `size` bytes in `folder` would be too many."""
        self.check_size(size)
        self.check_room(folder, size)

    def check_size(self, size: int) -> None:
        """Raise TooLarge where an upload of `size` bytes may not be."""
        if size > self.most:
            raise TooLarge(f"The file is larger than {self.most_mb} MB; send a shorter or smaller one.")

    def check_room(self, folder: Path, size: int = 0) -> None:
        """Raise NoRoom where `size` more bytes in `folder` leave too little of the disk free."""
        free_mb = (shutil.disk_usage(folder).free - size) // _MIB
        if free_mb < self.spare_mb:
            raise NoRoom(
                f"The server's disk is too full for this: {max(0, free_mb)} MB would stay free, and "
                f"{self.spare_mb} MB must; make room there and send it again."
            )


def check_upload(request: Request, *media_types: str) -> None:
    """Raise WrongMediaType unless the body is of one of these types; "video/*" is any video."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given in media_types or f"{given.partition('/')[0]}/*" in media_types:
        return
    raise WrongMediaType(
        f"The body must be sent as {' or '.join(media_types)}, not as {given or 'a body without a type'}."
    )


def announced_size(request: Request) -> int:
    """What Content-Length says, 0 where it says nothing."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def save(
    request: Request, path: Path, allowance: Allowance, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Write the body to the new file `path`; returns its size in bytes. `progress` hears the bytes so far.

    Raises TooLarge, TooSlow, NoRoom, Unprocessable when it is empty, BadRequest when the sender is gone; then
    there is no file. What `progress` raises ends it, too.
    """
    allowance.admit(path.parent, announced_size(request))
    size = 0
    with ExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        try:
            with await asyncio.to_thread(path.open, "xb") as file:
                async for part in _parts(request.stream(), allowance.stall_s):
                    size += len(part)
                    allowance.check_size(size)
                    await asyncio.to_thread(allowance.check_room, path.parent)
                    await asyncio.to_thread(file.write, part)
                    progress(size)
                if size == 0:
                    raise Unprocessable(_EMPTY)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise NoRoom("The server's disk is full; make room there and send it again.") from error
        except ClientDisconnect as error:
            raise BadRequest("The upload broke off; send it again.") from error
        undo.pop_all()
    return size


async def _parts(chunks: AsyncIterator[bytes], stall_s: float) -> AsyncIterator[bytes]:
    """What comes, in parts of a size worth writing. Raises TooSlow."""
    part = bytearray()
    while True:
        try:
            async with asyncio.timeout(stall_s):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise TooSlow(f"Nothing of the upload came for {stall_s:.0f} seconds; send it again.") from error
        if chunk is None:
            break
        part += chunk
        if len(part) >= _PART:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)
