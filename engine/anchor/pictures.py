"""The decoded pictures of an avatar and the mouth's crops of them: in memory, or mapped from disk."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2

from engine.anchor.card import CARD, AvatarCard, Clip
from engine.anchor.crop import Picture, extract
from engine.array_store import Arrays, ArrayStore, Rows
from engine.errors import AvatarError, BadMediaError
from engine.picture.video import read_i420
from engine.picture.yuv import Frame, to_rgb

PICTURES = "pictures"
"""What they are called in a store."""

_LAYOUT = "1"
"""Another one when pictures are decoded or cut out in another way."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Of all clips, counted through: `frames` I420 (h * 3 // 2, w), `faces` RGB (crop_size, crop_size, 3).

    `faces` by frame, those that are there already; `nbytes` what they take of this process's own memory;
    `content` names what they were made of, None where nobody asked for it. All read-only.
    """

    frames: list[Frame]
    faces: dict[int, Picture]
    nbytes: int
    content: str | None = None

    @classmethod
    def of(cls, frames: list[Frame]) -> "Pictures":
        """Of frames in memory."""
        return cls([_read_only(frame) for frame in frames], {}, sum(frame.nbytes for frame in frames))


def load_pictures(folder: Path, card: AvatarCard, store: ArrayStore | None = None) -> Pictures:
    """Decode the clips in `folder`, or map what `store` holds of them; into it goes what it lacks.

    Raises AvatarError with one sentence for a damaged clip.
    """
    if store is None:
        return Pictures.of(list(_decoded(folder, card)))
    content = content_of(folder, card)
    rows = store.rows(card.frames, PICTURES, content)
    held = _kept(rows, card.frames) or _stored(rows, folder, card)
    own = 0 if rows.whole else sum(array.nbytes for row in held for array in row)
    frames = [_read_only(frame) for frame, _ in held]
    return Pictures(frames, {index: _read_only(face) for index, (_, face) in enumerate(held)}, own, content)


def content_of(folder: Path, card: AvatarCard) -> str:
    """Names the pixels of an avatar's frames and faces, and what decodes them. Raises AvatarError."""
    digest = hashlib.sha256(repr((_LAYOUT, av.__version__, cv2.__version__)).encode())
    digest.update(repr((card.size, card.crop_size, card.crops)).encode())
    try:
        for clip in card.clips:
            with (folder / clip.file).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise AvatarError(
            f"The avatar {card.name} is damaged: {clip.file} cannot be read ({error.strerror}); "
            "create it again."
        ) from error
    return digest.hexdigest()


def _kept(rows: Rows, count: int) -> list[Arrays] | None:
    held: list[Arrays] = []
    for index in range(count if rows.whole else 0):
        row = rows.get(index)
        if row is None:
            return None
        held.append(row)
    return held or None


def _stored(rows: Rows, folder: Path, card: AvatarCard) -> list[Arrays]:
    held: list[Arrays] = []
    for frame in _decoded(folder, card):
        face = extract(to_rgb(frame), card.crops[len(held)], card.crop_size)
        held.append(rows.put(len(held), (frame, face)))
    return held


def _decoded(folder: Path, card: AvatarCard) -> Iterator[Frame]:
    for clip in card.clips:
        yield from _clip(folder, card, clip)


def _clip(folder: Path, card: AvatarCard, clip: Clip) -> Iterator[Frame]:
    width, height = card.size
    found = 0
    try:
        for frame in read_i420(folder / clip.file):
            found += 1
            if frame.shape != (height * 3 // 2, width):
                raise AvatarError(
                    f"The avatar {card.name} is damaged: {clip.file} has another size than "
                    f"{width}x{height}; create it again."
                )
            if found <= clip.frames:
                yield frame
    except BadMediaError as error:
        raise AvatarError(f"The avatar {card.name} is damaged: {error}") from error
    if found != clip.frames:
        raise AvatarError(
            f"The avatar {card.name} is damaged: {clip.file} holds {found} pictures, {CARD} says "
            f"{clip.frames}; create it again."
        )


def _read_only(array: Picture) -> Picture:
    array.flags.writeable = False
    return array
