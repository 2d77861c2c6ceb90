"""Where the footage lies that an avatar was made from: remembered beside the packages, never inside one."""

import json
from pathlib import Path

_FILE = ".footage.json"


def remember_footage(folder: Path, video: Path) -> None:
    """Note that the avatar in `folder` was made from `video`."""
    _write(folder, {**_read(folder), folder.name: str(video.resolve())})


def forget_footage(folder: Path) -> None:
    """Drop the note, if there is one."""
    known = _read(folder)
    if known.pop(folder.name, None) is not None:
        _write(folder, known)


def footage_of(folder: Path) -> Path | None:
    """The video that the avatar in `folder` was made from; None where nobody noted it."""
    video = _read(folder).get(folder.name)
    return Path(video) if video else None


def _read(folder: Path) -> dict[str, str]:
    path = folder.parent / _FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a note that is lost is asked for again
        return {}
    known = content if isinstance(content, dict) else {}
    return {name: video for name, video in known.items() if isinstance(video, str)}


def _write(folder: Path, known: dict[str, str]) -> None:
    path = folder.parent / _FILE
    part = path.with_suffix(".part")
    part.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
