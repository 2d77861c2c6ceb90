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
    entries: Mapping[str | zipfile.ZipInfo, bytes],
    manifest: bytes | None = None,
    method: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """A zip of these files, with a manifest that is right for them unless another is given."""
    named = {entry if isinstance(entry, str) else entry.filename: data for entry, data in entries.items()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content, method)
        archive.writestr(MANIFEST, manifest_of(named) if manifest is None else manifest)
    return path
