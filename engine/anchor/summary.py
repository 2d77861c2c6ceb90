"""What is to be known of an avatar without decoding it: its card, in one row of a list."""

from dataclasses import dataclass
from pathlib import Path

from engine.anchor.card import Consent, read_card
from engine.anchor.package import Where, package_files, where
from engine.speech.audio import FRAME_RATE


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """One clip: `seconds` long; `share` in [0, 1], how much of a drawn mouth its frames show on average."""

    name: str
    kind: str
    loop: str
    frames: int
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One avatar.

    `size` (width, height) in pixels; `seconds` of all clips; `bytes` of its own files, not of a shared mouth;
    `mouth` the folder of its mouth, relative to it, and `mouth_size` the side of what that draws; `crop` the
    mean side of the mouth's square in pixels of the picture.
    """

    name: str
    title: dict[str, str]
    where: Where
    folder: str
    size: tuple[int, int]
    seconds: float
    bytes: int
    clips: tuple[ClipSummary, ...]
    model: str
    mouth: str
    mouth_size: int
    crop: float
    matte: bool
    consent: Consent | None
    licence: str
    credits: str


def summarise(folder: Path) -> Summary:
    """The avatar in `folder`. Raises AvatarError when its card cannot be read."""
    card = read_card(folder)
    files = package_files(folder, card)
    inside = [
        path for path in files.values() if path.is_file() and folder.resolve() in path.resolve().parents
    ]
    return Summary(
        name=folder.absolute().name,
        title=card.title,
        where=where(folder),
        folder=str(folder.absolute()),
        size=card.size,
        seconds=card.frames / FRAME_RATE,
        bytes=sum(path.stat().st_size for path in inside),
        clips=tuple(
            ClipSummary(
                clip.name, clip.kind, clip.loop, clip.frames, clip.frames / FRAME_RATE,
                round(sum(clip.shares) / clip.frames, 3),
            )
            for clip in card.clips
        ),
        model=card.model,
        mouth=card.mouth,
        mouth_size=card.crop_size,
        crop=round(sum(crop.size for crop in card.crops) / card.frames, 1),
        matte=card.idle.matte_file in files,
        consent=card.consent,
        licence=card.licence,
        credits=card.credits,
    )  # fmt: skip
