"""Arrays that are costly to make, kept on disk and memory-mapped: all processes that use them share pages.

A file holds rows that are alike, such as one for each frame of an avatar: a page with what they are, a table
of checksums, then the rows from one page to the next, their arrays at multiples of 64 bytes. It is written
under another name and renamed when whole. Nothing but numbers is read from it.
"""

import contextlib
import hashlib
import json
import logging
import mmap
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from engine.file_lock import try_lock

Arrays = tuple[NDArray[Any], ...]

MIN_FREE_MB = 1024
"""Megabytes that stay free on the disk, whatever the store may take."""

_MAGIC = b"koubo arrays 1\n\0"
_PAGE = 4096
_ALIGN = 64
_SUFFIX, _PART = ".arrays", ".part"
_TYPES = ("|u1", "<f2", "<f4")
_MIB = 1 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things lie in a file of so many rows, each of arrays with these types and shapes."""

    count: int
    arrays: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each array."""
        return [np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64)) for kind, shape in self.arrays]

    @property
    def row(self) -> int:
        """Bytes from one row to the next."""
        return _up(sum(_up(size, _ALIGN) for size in self.sizes), _PAGE)

    @property
    def start(self) -> int:
        """Where the first row begins."""
        return _PAGE + _up(4 * self.count, _PAGE)

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return self.start + self.count * self.row

    def header(self, table: NDArray[np.uint32]) -> bytes:
        """The first page and the table of checksums."""
        facts = json.dumps({"rows": self.count, "arrays": self.arrays}).encode()
        packed = table.astype("<u4").tobytes()
        head = b"".join([_MAGIC, _number(len(facts)), _number(zlib.crc32(facts + packed)), facts])
        if len(head) > _PAGE:
            raise ValueError(f"{len(self.arrays)} arrays a row are too many")
        return head.ljust(_PAGE, b"\0") + packed

    @classmethod
    def of(cls, file: IO[bytes], count: int) -> tuple["_Layout", NDArray[np.uint32]]:
        """The layout and the checksums of a whole file of `count` rows. Raises ValueError for any other."""
        head = file.read(_PAGE)
        length, checksum = (int.from_bytes(head[at : at + 4], "little") for at in (16, 20))
        facts = head[24 : 24 + length]
        if not head.startswith(_MAGIC):
            raise ValueError("it is no file of arrays")
        try:
            read = json.loads(facts)
            layout = cls(
                int(read["rows"]), tuple((str(kind), tuple(shape)) for kind, shape in read["arrays"])
            )
        except (KeyError, TypeError) as error:
            raise ValueError("its head is damaged") from error
        packed = file.read(4 * layout.count)
        if zlib.crc32(facts + packed) != checksum or any(kind not in _TYPES for kind, _ in layout.arrays):
            raise ValueError("its head is damaged")
        if layout.count != count or os.fstat(file.fileno()).st_size != layout.total:
            raise ValueError("it is cut off")
        return layout, np.frombuffer(packed, "<u4").copy()


class Rows:
    """The rows of one key: read from its file where they are there, added to a new file where not.

    `get` may be called from several threads, and while one thread calls `put`. `put` has its rows in any
    order; with the last one the file is whole.
    """

    def __init__(self, store: "ArrayStore", path: Path, count: int) -> None:
        self._store = store
        self._path = path
        self._count = count
        self._layout: _Layout | None = None
        self._map: mmap.mmap | None = None
        self._table = np.zeros(count, np.uint32)
        self._known = np.zeros(count, np.bool_)
        """Rows of which it is sure that they are as they were written."""
        self._whole = False
        self._part: IO[bytes] | None = None
        self._given_up = False
        self._open()

    @property
    def whole(self) -> bool:
        """Whether there is a file with every row."""
        return self._whole

    def get(self, index: int) -> Arrays | None:
        """The arrays of a row, in the file's pages; None while it is not there, or when it is damaged.

        They can be written to, which changes this process's copy of the page and nothing else.
        """
        if not self._known[index] and not (self._whole and self._sound(index)):
            return None
        return self._view(index)

    def put(self, index: int, arrays: Arrays) -> Arrays:
        """Keep a row; returns its arrays as they lie in the file, or those given where it cannot be kept."""
        if self._whole or self._given_up:
            return arrays
        try:
            part = self._part or self._begin(arrays)
            if part is None:
                return arrays
            assert self._layout is not None
            if tuple((array.dtype.str, array.shape) for array in arrays) != self._layout.arrays:
                raise ValueError("the arrays of a row differ from those of the first one")
            row = _packed(arrays, self._layout)
            part.seek(self._layout.start + index * self._layout.row)
            part.write(row)
            part.flush()
            self._table[index], self._known[index] = zlib.crc32(row), True
            if self._known.all():
                self._finish(part)
        except OSError as error:
            self._give_up(f"it cannot be written ({error.strerror or error})")
            if not self._known[index]:
                return arrays
        return self._view(index)

    def _open(self) -> None:
        """Map the file that is there. One that is damaged is removed, and made anew."""
        try:
            with self._path.open("rb") as file:
                layout, table = _Layout.of(file, self._count)
                try_lock(file, exclusive=False)
                self._map = mmap.mmap(file.fileno(), layout.total, access=mmap.ACCESS_COPY)
            self._layout, self._table, self._whole = layout, table, True
            os.utime(self._path)  # the one used last goes last
        except FileNotFoundError:
            return
        except ValueError as error:
            self._drop(f"{error}")
        except OSError as error:
            self._give_up(f"{self._path.name} cannot be read ({error.strerror or error})")

    def _sound(self, index: int) -> bool:
        assert self._layout is not None
        assert self._map is not None
        start = self._layout.start + index * self._layout.row
        with memoryview(self._map) as whole, whole[start : start + self._layout.row] as row:
            sound = zlib.crc32(row) == int(self._table[index])
        if sound:
            self._known[index] = True
        elif self._path.exists():
            self._drop(f"row {index} is damaged")
        return sound

    def _drop(self, why: str) -> None:
        logger.warning("%s is made anew: %s", self._path.name, why)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _view(self, index: int) -> Arrays:
        assert self._layout is not None
        assert self._map is not None
        at = self._layout.start + index * self._layout.row
        views: list[NDArray[Any]] = []
        for (kind, shape), size in zip(self._layout.arrays, self._layout.sizes, strict=True):
            count = size // np.dtype(kind).itemsize
            views.append(np.frombuffer(self._map, kind, count, at).reshape(shape))
            at += _up(size, _ALIGN)
        return tuple(views)

    def _begin(self, arrays: Arrays) -> IO[bytes] | None:
        layout = _Layout(self._count, tuple((array.dtype.str, array.shape) for array in arrays))
        obstacle = self._store.make_room(layout.total)
        if obstacle:
            self._give_up(obstacle)
            return None
        part = self._store.part(self._path)
        self._part, self._layout = part, layout
        part.truncate(layout.total)
        self._map = mmap.mmap(part.fileno(), layout.total, access=mmap.ACCESS_COPY)
        return part

    def _finish(self, part: IO[bytes]) -> None:
        assert self._layout is not None
        part.seek(0)
        part.write(self._layout.header(self._table))
        try_lock(part, exclusive=False)
        part.flush()
        Path(part.name).replace(self._path)
        part.close()
        self._part, self._whole = None, True

    def _give_up(self, why: str) -> None:
        """What is written already is still read, from a file without a name."""
        self._given_up = True
        self._store.warn(why)
        self._abandon()

    def _abandon(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            with contextlib.suppress(OSError):
                Path(part.name).unlink()
            with contextlib.suppress(OSError):
                part.close()

    def __del__(self) -> None:
        self._abandon()


class ArrayStore:
    """A folder of such files, which takes at most `limit_mb`: those that were not used for longest go first.

    Files that a process has open stay. Where there is no room, or nothing can be written, arrays are not
    kept, which is told once. Files that a killed process left behind are removed by `clear_leftovers`.
    """

    def __init__(self, folder: Path, limit_mb: float, min_free_mb: float = MIN_FREE_MB) -> None:
        self._folder = folder
        self._limit = limit_mb * _MIB
        self._min_free = min_free_mb * _MIB
        self._warned = False

    def rows(self, count: int, *key: str) -> Rows:
        """The `count` rows of a key, whose parts name all that the arrays depend on; the first is shown."""
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        return Rows(self, self._folder / f"{key[0]}-{digest}{_SUFFIX}", count)

    def clear_leftovers(self) -> None:
        """Remove what was being written by processes that are gone."""
        for path in self._folder.glob(f"*{_PART}"):
            _remove_unused(path)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be kept here, once others have made way."""
        folder = next((path for path in (self._folder, *self._folder.parents) if path.is_dir()), None)
        if folder is None or size > self._limit:
            return False
        kept = sum(facts.st_size for _, facts in self._files())
        return shutil.disk_usage(folder).free + kept - size >= self._min_free

    def make_room(self, size: int) -> str | None:
        """Remove files until there is room for so many bytes more. Returns why there cannot be, or None."""
        if size > self._limit:
            return f"{size // _MIB} MB are more than the {self._limit / _MIB:g} MB that it may take"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            taken = sum(facts.st_size for _, facts in self._files())
            for path, facts in sorted(self._files(), key=lambda file: file[1].st_mtime):
                if taken + size <= self._limit and self._free() - size >= self._min_free:
                    break
                if _remove_unused(path):
                    taken -= facts.st_size
            if taken + size > self._limit:
                return f"what is in use takes {taken // _MIB} of {self._limit / _MIB:g} MB"
            if self._free() - size < self._min_free:
                return "its disk is nearly full"
        except OSError as error:
            return f"it cannot be written ({error.strerror or error})"
        return None

    def part(self, path: Path) -> IO[bytes]:
        """A new file that will become `path`, locked while it is open. Raises OSError."""
        part = (self._folder / f"{path.stem}-{secrets.token_hex(4)}{_PART}").open("x+b")
        try_lock(part)
        return part

    def warn(self, why: str) -> None:
        """Say once that something is not kept."""
        if not self._warned:
            self._warned = True
            logger.warning("decoded pictures and features are not kept in %s: %s", self._folder, why)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._folder.glob("*"):
            if path.suffix in (_SUFFIX, _PART):
                with contextlib.suppress(FileNotFoundError):
                    yield path, path.stat()

    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free


def _packed(arrays: Sequence[NDArray[Any]], layout: _Layout) -> bytes:
    parts = [
        array.tobytes().ljust(_up(size, _ALIGN), b"\0")
        for array, size in zip(arrays, layout.sizes, strict=True)
    ]
    return b"".join(parts).ljust(layout.row, b"\0")


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _remove_unused(path: Path) -> bool:
    """Remove a file that no process has open."""
    try:
        with path.open("rb") as file:
            if not try_lock(file):
                return False
            path.unlink()
    except OSError:
        return False
    return True
