"""A hidden folder beside the avatars where one server makes new ones, so that none is ever half there."""

import contextlib
import logging
import secrets
import shutil
import sys
from pathlib import Path
from typing import IO

from engine.errors import KouboError

if sys.platform != "win32":
    import fcntl

_LOCKS = ".workroom-*.lock"
"""A lock is there before its room, and goes after it."""

logger = logging.getLogger(__name__)


class Workroom:
    """Below the folder of own avatars, on the same disk, so that a finished one is put in place by a rename.

    A lock beside it tells that its server lives; rooms of servers that are gone are removed.
    """

    def __init__(self, avatars: Path) -> None:
        """`avatars` is where finished ones go; nothing is written before `open`."""
        self.avatars = avatars
        self._folder: Path | None = None
        self._lock: IO[bytes] | None = None

    def clear_leftovers(self) -> None:
        """Remove the rooms of servers that are gone."""
        for path in self.avatars.glob(_LOCKS):
            if lock := _take_lock(path):
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                _drop_lock(lock, path)
                logger.info("removed %s, left by a server that is gone", path.stem)

    def folder(self) -> Path:
        """The room, made when first asked for. Raises KouboError where nothing can be written."""
        if self._folder is None:
            folder = self.avatars / f".workroom-{secrets.token_hex(6)}"
            try:
                self.avatars.mkdir(parents=True, exist_ok=True)
                self._lock = _take_lock(_lock_file(folder))
                folder.mkdir(mode=0o700)
            except OSError as error:
                self.close()
                reason = (error.strerror or str(error)).lower()
                raise KouboError(
                    f"New presenters cannot be kept in {self.avatars} ({reason}); "
                    "set KOUBO_AVATARS to a folder that the server may write."
                ) from error
            self._folder = folder
        return self._folder

    def new(self, name: str) -> Path:
        """A folder of its own for one piece of work."""
        folder = self.folder() / name
        folder.mkdir(mode=0o700)
        return folder

    def close(self) -> None:
        """Leave nothing behind."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            _drop_lock(self._lock, Path(self._lock.name))
        self._folder = self._lock = None


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _take_lock(path: Path) -> IO[bytes] | None:
    """The open file that is the lock, None while another process holds it. On Windows an open file cannot be
    removed, so that opening it is enough.
    """
    if sys.platform == "win32":
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)
        return None if path.exists() else path.open("wb")
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _drop_lock(file: IO[bytes], path: Path) -> None:
    file.close()
    path.unlink(missing_ok=True)
