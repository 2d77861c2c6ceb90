"""avatar.json: what an avatar package says about itself."""

import json
import math
import re
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from engine.anchor.crop import OUTLINE_POINTS, Crop
from engine.anchor.walk import Loop
from engine.errors import AvatarError
from engine.speech.audio import FRAME_RATE

SCHEMA = 2
CARD = "avatar.json"
ANCHOR = "anchor.mp4"
MATTE = "matte.mp4"
IDLE = "idle"

ClipKind = Literal["idle", "talking", "greeting", "gesture"]
Shown = Literal["person", "rendered"]

_ROW = re.compile(r"\[\n[\s\d.,e+-]*\]")
CLIP_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_SIDE = 4096
_MAX_CLIPS = 32
_MAX_FRAMES = 10 * 60 * FRAME_RATE
_MAX_TEXT = 10_000
_MAX_ANGLE = 10.0  # radians; angles are unwrapped, so a little more than a turn is possible
_FAR = 4.0  # sides of the crop; an outline lies within one


@dataclass(frozen=True, slots=True)
class Consent:
    """That the person who is shown agreed: `by` their name, `statement` to what, `on` which day (ISO 8601).

    `shown` is "rendered" where no real person is shown; `by` is then who rendered it.
    """

    shown: Shown
    by: str
    statement: str
    on: str


@dataclass(frozen=True)
class Clip:
    """One stretch of pictures of the presenter: a video file of the package and what is known of each frame.

    `kind`: "idle" and "talking" go round, "greeting" and "gesture" are shown once when asked for.
    `file` is relative to the package. A frame each: `crops` in pixels of the frame; `outlines`, x and y of
    each point of `crop.mouth_outline` in a row, empty where the package has one mask.png for all; `shares` in
    [0, 1], how much of a drawn mouth may be shown: 0 where the face is turned away.
    """

    name: str
    kind: ClipKind
    file: str
    loop: Loop
    crops: tuple[Crop, ...]
    outlines: tuple[tuple[float, ...], ...]
    shares: tuple[float, ...]

    @property
    def frames(self) -> int:
        """Number of its pictures."""
        return len(self.crops)

    @property
    def matte_file(self) -> str:
        """Where its matte lies, if it has one, relative to the package."""
        return MATTE if self.file == ANCHOR else self.file.removesuffix(".mp4") + ".matte.mp4"


@dataclass(frozen=True)
class AvatarCard:
    """The contents of avatar.json.

    `title` by language ("en", "zh"); `size` (width, height) of every clip, even; `clips` the idle one first:
    frames are counted through all of them in this order; `crop_size` the side of the mouth's square;
    `mouth_box` (left, top, right, bottom) of the closed lips as shares of the crop's side; `mouth` the folder
    of the trained mouth, relative to the package; `consent` None only in packages of schema 1.
    """

    name: str
    title: dict[str, str]
    size: tuple[int, int]
    clips: tuple[Clip, ...]
    crop_size: int
    mouth_box: tuple[float, float, float, float]
    mouth: str
    model: str
    licence: str
    consent: Consent | None
    credits: str

    @property
    def idle(self) -> Clip:
        """The clip that is shown when nothing else is."""
        return self.clips[0]

    @property
    def frames(self) -> int:
        """Number of pictures in all clips."""
        return len(self.crops)

    @cached_property
    def crops(self) -> tuple[Crop, ...]:
        """The crop of each frame, through all clips."""
        return tuple(crop for clip in self.clips for crop in clip.crops)

    @cached_property
    def outlines(self) -> tuple[tuple[float, ...], ...]:
        """The outline of each frame's lower face, through all clips; empty where one mask serves all."""
        return tuple(outline for clip in self.clips for outline in clip.outlines)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """How much of a drawn mouth each frame may show, through all clips."""
        return tuple(share for clip in self.clips for share in clip.shares)

    def start(self, clip: str) -> int:
        """The number of the first frame of a clip. Raises KeyError for a clip it has not."""
        first = 0
        for one in self.clips:
            if one.name == clip:
                return first
            first += one.frames
        raise KeyError(clip)


def write_card(folder: Path, card: AvatarCard) -> None:
    """Write avatar.json into `folder`, whole or not at all."""
    part = folder / f"{CARD}.part"
    part.write_text(card_text(card), encoding="utf-8")
    part.replace(folder / CARD)


def card_text(card: AvatarCard) -> str:
    """What avatar.json holds."""
    fields = {
        "schema": SCHEMA,
        "fps": FRAME_RATE,
        **{field.name: getattr(card, field.name) for field in dataclass_fields(card)},
        "mouth_box": [round(value, 4) for value in card.mouth_box],
        "consent": asdict(card.consent) if card.consent else None,
        "clips": [_clip_fields(clip) for clip in card.clips],
    }
    return _compact(json.dumps(fields, ensure_ascii=False, indent=1)) + "\n"


def read_card(folder: Path) -> AvatarCard:
    """Read and check avatar.json of `folder`; raises AvatarError with what is wrong.

    A card of schema 1 is read as one idle clip, its mask for all frames.
    """
    path = folder / CARD
    if not path.is_file():
        raise AvatarError(f"{folder} is no avatar package: it holds no {CARD}; give a folder made by Koubo.")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise AvatarError(f"{path} is damaged ({error}); create the avatar again.") from error
    if not isinstance(fields, dict):
        raise AvatarError(f"{path} is damaged (no JSON object); create the avatar again.")
    if fields.get("schema") not in (1, SCHEMA):
        raise AvatarError(
            f"{path} has schema {fields.get('schema')!r}, this Koubo reads schema {SCHEMA}; "
            "use a matching Koubo or create the avatar again."
        )
    try:
        return _parse(fields if fields["schema"] == SCHEMA else _from_schema_1(fields))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise AvatarError(f"{path} is damaged ({what}); create the avatar again.") from error


def _clip_fields(clip: Clip) -> dict[str, Any]:
    return {
        "name": clip.name,
        "kind": clip.kind,
        "file": clip.file,
        "loop": clip.loop,
        "frames": clip.frames,
        "crops": [
            [round(value, 4) for value in (c.cx, c.cy, c.size)] + [round(c.angle, 6)] for c in clip.crops
        ],
        "outlines": [[round(value, 4) for value in outline] for outline in clip.outlines],
        "shares": [round(share, 3) for share in clip.shares],
    }


def _compact(text: str) -> str:
    """Each row of numbers on a line of its own."""
    return _ROW.sub(lambda row: "[" + ", ".join(row[0][1:-1].replace(",", " ").split()) + "]", text)


def _from_schema_1(fields: dict[str, Any]) -> dict[str, Any]:
    crops = fields["crops"]
    clip = {
        "name": IDLE,
        "kind": "idle",
        "file": ANCHOR,
        "loop": fields["loop"],
        "frames": fields["frames"],
        "crops": crops,
        "outlines": [],
        "shares": [1.0] * len(crops),
    }
    return {**fields, "clips": [clip], "consent": None}


def _parse(fields: dict[str, Any]) -> AvatarCard:
    if fields["fps"] != FRAME_RATE:
        raise ValueError(f"fps is {fields['fps']!r}, not {FRAME_RATE}")
    width, height = (_whole(value, "size", 16, _MAX_SIDE) for value in fields["size"])
    if width % 2 or height % 2:
        raise ValueError(f"size {width}x{height} is odd")
    clips = tuple(_clip(clip) for clip in fields["clips"])
    if not 1 <= len(clips) <= _MAX_CLIPS or clips[0].kind != "idle":
        raise ValueError("clips does not begin with an idle one")
    if len({clip.name for clip in clips}) < len(clips) or len({clip.file for clip in clips}) < len(clips):
        raise ValueError("two clips have the same name or file")
    if sum(clip.frames for clip in clips) > _MAX_FRAMES:
        raise ValueError(f"its clips have more than {_MAX_FRAMES} frames")
    if len({not clip.outlines for clip in clips}) > 1:
        raise ValueError("some clips have outlines, some have none")
    left, top, right, bottom = (_number(value, "mouth_box") for value in fields["mouth_box"])
    title = fields["title"]
    if not isinstance(title, dict):
        raise TypeError("title is no table of texts")
    return AvatarCard(
        name=_text(fields, "name"),
        title={_checked(language, "title"): _checked(text, "title") for language, text in title.items()},
        size=(width, height),
        clips=clips,
        crop_size=_whole(fields["crop_size"], "crop_size", 32, 1024),
        mouth_box=(left, top, right, bottom),
        mouth=_text(fields, "mouth"),
        model=_text(fields, "model"),
        licence=_text(fields, "licence"),
        consent=_consent(fields["consent"]) if fields["consent"] is not None else None,
        credits=_text(fields, "credits"),
    )


def _clip(fields: dict[str, Any]) -> Clip:
    name = _text(fields, "name")
    if not CLIP_NAME.fullmatch(name):
        raise ValueError(f"a clip is called {name!r}, not lower-case letters, digits and hyphens")
    file = _text(fields, "file")
    if file not in (ANCHOR, f"clips/{name}.mp4"):
        raise ValueError(f"the clip {name} is in {file!r}, not in {ANCHOR} or clips/{name}.mp4")
    crops = tuple(_crop(row) for row in fields["crops"])
    outlines = tuple(_outline(row) for row in fields["outlines"])
    shares = tuple(_share(value) for value in fields["shares"])
    if not crops or len(crops) != fields["frames"]:
        raise ValueError(f"{len(crops)} crops for {fields['frames']!r} frames")
    if len(outlines) not in (0, len(crops)) or len(shares) != len(crops):
        raise ValueError(f"{len(outlines)} outlines and {len(shares)} shares for {len(crops)} frames")
    kind = _one_of(fields["kind"], "kind", get_args(ClipKind))
    return Clip(name, kind, file, _one_of(fields["loop"], "loop", get_args(Loop)), crops, outlines, shares)


def _consent(fields: dict[str, Any]) -> Consent:
    on = _text(fields, "on")
    date.fromisoformat(on)
    by, statement = _text(fields, "by"), _text(fields, "statement")
    if not by.strip() or not statement.strip():
        raise ValueError("the consent names nobody or states nothing")
    return Consent(_one_of(fields["shown"], "shown", get_args(Shown)), by, statement, on)


def _crop(row: list[object]) -> Crop:
    cx, cy, size, angle = (_number(value, "crops") for value in row)
    if not 8 <= size <= 4 * _MAX_SIDE:
        raise ValueError(f"a crop has side {size}")
    if max(abs(cx), abs(cy)) > 4 * _MAX_SIDE or abs(angle) > _MAX_ANGLE:
        raise ValueError(f"a crop lies at {cx}, {cy}, turned by {angle}")
    return Crop(cx, cy, size, angle)


def _outline(row: list[object]) -> tuple[float, ...]:
    values = tuple(_number(value, "outlines") for value in row)
    if len(values) != 2 * OUTLINE_POINTS or max(map(abs, values)) > _FAR:
        raise ValueError(f"an outline is not {OUTLINE_POINTS} points near the crop")
    return values


def _share(value: object) -> float:
    share = _number(value, "shares")
    if not 0 <= share <= 1:
        raise ValueError(f"a share is {share}, not from 0 to 1")
    return share


def _one_of(value: object, key: str, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{key} is {value!r}, none of {', '.join(choices)}")
    return value


def _text(fields: dict[str, Any], key: str) -> str:
    return _checked(fields[key], key)


def _checked(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{key} is no text")
    if len(value) > _MAX_TEXT or not value.replace("\n", "").isprintable():
        raise ValueError(f"{key} is too long or holds control characters")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} holds {value!r}, no number")
    return float(value)


def _whole(value: object, key: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{key} is {value!r}, no whole number from {low} to {high}")
    return value
