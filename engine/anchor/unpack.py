"""A zip file from elsewhere into a folder: only what a package holds, within bounds, as its manifest says."""

import hashlib
import io
import json
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from engine.anchor.survey import Tell
from engine.errors import AvatarError

MANIFEST = "manifest.json"
SCHEMA = 1
CHUNK = 1 << 18

MAX_BYTES = 2 << 30
"""Of all files of an archive, unpacked."""

MAX_RATIO = 100
"""Unpacked bytes for each byte of the archive, beyond the first megabyte."""

_FREE = 1 << 20
_MAX_READ = 1 << 20  # bytes of the archive that are read at once, such as its directory
_MAX_FILES = 80
_CLIP = r"clips/[a-z0-9][a-z0-9-]{0,31}(\.matte)?\.mp4"
_ALLOWED = {
    r"avatar\.json": 32 << 20,
    r"manifest\.json": 1 << 16,
    rf"anchor\.mp4|matte\.mp4|{_CLIP}": 1 << 30,
    r"mask\.png": 4 << 20,
    r"mouth/(face_encoder|mouth_decoder)\.onnx": 512 << 20,
    r"mouth/model\.json": 1 << 20,
}
"""Names of the files that an archive may hold, and how large each may be."""

_FOLDERS = ("clips/", "mouth/")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_DAMAGES = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError,
    NotImplementedError, ValueError, OverflowError, RecursionError,
)  # fmt: skip


def unpack(archive: Path, folder: Path, tell: Tell) -> None:
    """Write the files of a zip file into the empty `folder`; `tell` hears ("unpack", kilobytes, of how many).

    Raises AvatarError for a file that is missing, damaged, too large, or holds anything else than the files
    of an avatar as they are listed in its manifest. What was written until then is the caller's to remove.
    """
    if not archive.is_file():
        raise AvatarError(f"There is no file {archive}; give a zip file that Koubo exported.")
    try:
        with _Bounded(archive) as file, zipfile.ZipFile(file) as opened:
            _Unpacking(opened, archive, folder, tell).run()
    except _DAMAGES as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AvatarError(
            f"{archive.name} is no zip file or is damaged ({what}); export it again."
        ) from error
    except OSError as error:
        raise AvatarError(f"{archive.name} cannot be unpacked ({error.strerror or error}).") from error


class _Bounded(io.FileIO):
    """A file of which little is read at once: a zip's directory must not fill the memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > _MAX_READ:
            raise zipfile.BadZipFile("its directory is too large")
        return super().read(size)


class _Unpacking:
    """One zip file on its way into a folder."""

    def __init__(self, opened: zipfile.ZipFile, archive: Path, folder: Path, tell: Tell) -> None:
        self._opened = opened
        self._name = archive.name
        self._folder = folder
        self._tell = tell
        self._most = min(MAX_BYTES, _FREE + MAX_RATIO * archive.stat().st_size)
        self._done = 0

    def run(self) -> None:
        """Write every file."""
        entries = self._entries()
        sums = self._sums(entries)
        total = sum(entry.file_size for entry in entries.values())
        for name, entry in entries.items():
            digest = hashlib.sha256()
            target = self._folder / name
            target.parent.mkdir(exist_ok=True)
            with target.open("xb") as file:
                for chunk in self._chunks(entry):
                    digest.update(chunk)
                    file.write(chunk)
                    self._tell("unpack", self._done >> 10, total >> 10)
            if digest.hexdigest() != sums[name]:
                raise self._error(f"{name} is not what {MANIFEST} says")

    def _entries(self) -> dict[str, zipfile.ZipInfo]:
        """The files of the archive by name, without its manifest's; no byte of them is read."""
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._opened.infolist():
            # As it is written: `filename` is cut at a NUL.
            name = entry.orig_filename
            if name in _FOLDERS and not entry.file_size:
                continue
            self._check(entry, name)
            if name in entries:
                raise self._error(f"it holds {name} twice")
            entries[name] = entry
            if len(entries) > _MAX_FILES:
                raise self._error(f"it holds more than {_MAX_FILES} files")
        return entries

    def _check(self, entry: zipfile.ZipInfo, name: str) -> None:
        limit = next((most for names, most in _ALLOWED.items() if re.fullmatch(names, name)), None)
        if limit is None:
            raise self._error(f"it holds {name[:80]!r}, a file that no avatar has")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise self._error(f"{name} is a link or a device")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise self._error(f"{name} is encrypted or packed in an unusual way")
        if entry.file_size > limit:
            raise self._error(f"{name} is larger than {limit >> 10} KB")

    def _sums(self, entries: dict[str, zipfile.ZipInfo]) -> dict[str, str]:
        """The SHA-256 of each file by the manifest, which is taken out of `entries`."""
        if MANIFEST not in entries:
            raise self._error(f"it holds no {MANIFEST}")
        manifest = json.loads(b"".join(self._chunks(entries.pop(MANIFEST))))
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            raise self._error(f"its {MANIFEST} is not of schema {SCHEMA}")
        files = manifest.get("files")
        if not isinstance(files, dict) or not all(isinstance(value, dict) for value in files.values()):
            raise self._error(f"its {MANIFEST} lists no files")
        if files.keys() != entries.keys():
            odd = sorted(files.keys() ^ entries.keys())[0]
            raise self._error(f"{odd[:80]!r} is only in its {MANIFEST}, or is not in it")
        return {name: str(value.get("sha256")) for name, value in files.items()}

    def _chunks(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        """The content of a file; what is really unpacked counts, not what its header says."""
        with self._opened.open(entry) as source:
            while chunk := source.read(CHUNK):
                self._done += len(chunk)
                if self._done > self._most:
                    raise self._error("it unpacks to far more than an avatar")
                yield chunk

    def _error(self, what: str) -> AvatarError:
        return AvatarError(f"{self._name} is no avatar that Koubo exported: {what}.")
