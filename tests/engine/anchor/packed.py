"""Zip files of the fake avatar, whole and spoilt."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from engine.anchor.unpack import MANIFEST

Entries = dict[str, bytes]


def entries_of(archive: Path) -> Entries:
    """The files of a zip file without its manifest."""
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist() if name != MANIFEST}


def manifest_of(entries: Mapping[str, bytes]) -> bytes:
    """A manifest that is right for these files."""
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in entries.items()
    }
    return json.dumps({"schema": 1, "files": files}).encode()


def write_zip(
    path: Path,
    entries: Mapping[str, bytes],
    manifest: bytes | None = None,
    *,
    method: int = zipfile.ZIP_DEFLATED,
    modes: Mapping[str, int] | None = None,
) -> Path:
    """A zip of these files, with a manifest that is right for them unless another is given.

    `modes`: kind and permissions of some, as Unix has them.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(entry, content, method)
        archive.writestr(MANIFEST, manifest_of(entries) if manifest is None else manifest)
    return path
