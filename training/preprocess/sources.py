"""The videos of a job: found in files and folders, known by their content."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadMediaError

SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv",
     ".wmv", ".3gp", ".mxf", ".ogv"}
)  # fmt: skip

_PART = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A video; `id` follows its content, so moving or renaming it loses no work. `duplicate_of`: path of the
    same content that comes first.
    """

    id: str
    path: Path
    duplicate_of: Path | None = None


def find_sources(places: Iterable[Path]) -> list[Source]:
    """Videos among files and, with known suffixes, below folders; each path once, in order of path.

    Raises BadMediaError for a place that does not exist and when there is no video at all.
    """
    paths: set[Path] = set()
    given = list(places)
    for place in given:
        if place.is_dir():
            found = (path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
            paths.update(path for path in found if path.is_file())
        elif place.is_file():
            paths.add(place)
        else:
            raise BadMediaError(f"There is no file or folder {place}; check the path.")
    if not paths:
        raise BadMediaError(
            f"There are no videos in {', '.join(map(str, given))}; give files or folders of them."
        )
    sources: list[Source] = []
    first: dict[str, Path] = {}
    for path in sorted(paths):
        id_ = _content(path)
        twin = first.setdefault(id_, path)
        if twin != path:
            id_ = hashlib.sha256(id_.encode() + os.fsencode(path)).hexdigest()[:12]
        sources.append(Source(id_, path, twin if twin != path else None))
    return sources


def _content(path: Path) -> str:
    """Twelve digits from the size and both ends of a file; of its name where it cannot be read."""
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            digest.update(file.read(_PART))
            file.seek(max(size - _PART, 0))
            digest.update(file.read(_PART))
    except OSError:
        digest.update(os.fsencode(path))
    return digest.hexdigest()[:12]


def shard(sources: list[Source], number: int, count: int) -> list[Source]:
    """Part `number` of `count`, from 1; the parts of all numbers together are the whole."""
    if not 1 <= number <= count:
        raise ValueError(f"there is no part {number} of {count}")
    return sources[number - 1 :: count]


def shown(path: Path) -> str:
    """A path as text that any file can hold. Names from old Chinese systems are not UTF-8 but GB 18030."""
    raw = os.fsencode(path)
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "replace")
