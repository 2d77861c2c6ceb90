"""avatar.json: what an avatar package says about itself."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from engine.anchor.crop import Crop
from engine.anchor.walk import Loop
from engine.errors import AvatarError
from engine.speech.audio import FRAME_RATE

SCHEMA = 1
CARD = "avatar.json"
_MAX_SIDE = 4096


@dataclass(frozen=True, slots=True)
class AvatarCard:
    """The contents of avatar.json.

    `title` by language ("en", "zh"); `size` (width, height) of the anchor video, even; `crops` one a frame,
    in pixels of the frame; `crop_size` the side of the mouth's square; `mouth_box` (left, top, right, bottom)
    of the closed lips as shares of the crop's side; `mouth` the folder of the trained mouth, relative to the
    package.
    """

    name: str
    title: dict[str, str]
    size: tuple[int, int]
    loop: Loop
    crops: tuple[Crop, ...]
    crop_size: int
    mouth_box: tuple[float, float, float, float]
    mouth: str
    model: str
    licence: str
    consent: str
    credits: str

    @property
    def frames(self) -> int:
        """Number of pictures in the anchor video."""
        return len(self.crops)


def write_card(folder: Path, card: AvatarCard) -> None:
    """Write avatar.json into `folder`."""
    fields = asdict(card)
    fields["crops"] = [
        [round(value, 4) for value in (c.cx, c.cy, c.size)] + [round(c.angle, 6)] for c in card.crops
    ]
    fields["mouth_box"] = [round(value, 4) for value in card.mouth_box]
    text = json.dumps(
        {"schema": SCHEMA, "fps": FRAME_RATE, "frames": card.frames, **fields}, ensure_ascii=False, indent=1
    )
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def read_card(folder: Path) -> AvatarCard:
    """Read and check avatar.json of `folder`; raises AvatarError with what is wrong."""
    path = folder / CARD
    if not path.is_file():
        raise AvatarError(f"{folder} is no avatar package: it holds no {CARD}; give a folder made by Koubo.")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise AvatarError(f"{path} is damaged ({error}); prepare the avatar again.") from error
    if not isinstance(fields, dict):
        raise AvatarError(f"{path} is damaged (no JSON object); prepare the avatar again.")
    if fields.get("schema") != SCHEMA:
        raise AvatarError(
            f"{path} has schema {fields.get('schema')!r}, this Koubo reads schema {SCHEMA}; "
            "use a matching Koubo or prepare the avatar again."
        )
    try:
        return _parse(fields)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise AvatarError(f"{path} is damaged ({what}); prepare the avatar again.") from error


def _parse(fields: dict[str, Any]) -> AvatarCard:
    if fields["fps"] != FRAME_RATE:
        raise ValueError(f"fps is {fields['fps']!r}, not {FRAME_RATE}")
    if fields["loop"] not in ("forward", "pingpong"):
        raise ValueError(f"loop is {fields['loop']!r}, neither forward nor pingpong")
    width, height = (_whole(value, "size", 16, _MAX_SIDE) for value in fields["size"])
    if width % 2 or height % 2:
        raise ValueError(f"size {width}x{height} is odd")
    crops = tuple(_crop(row) for row in fields["crops"])
    if not crops or len(crops) != fields["frames"]:
        raise ValueError(f"{len(crops)} crops for {fields['frames']!r} frames")
    left, top, right, bottom = (_number(value, "mouth_box") for value in fields["mouth_box"])
    title = fields["title"]
    if not isinstance(title, dict) or not all(isinstance(text, str) for text in title.values()):
        raise ValueError("title is no table of texts")
    return AvatarCard(
        name=_text(fields, "name"),
        title=dict(title),
        size=(width, height),
        loop=cast(Literal["forward", "pingpong"], fields["loop"]),
        crops=crops,
        crop_size=_whole(fields["crop_size"], "crop_size", 32, 1024),
        mouth_box=(left, top, right, bottom),
        mouth=_text(fields, "mouth"),
        model=_text(fields, "model"),
        licence=_text(fields, "licence"),
        consent=_text(fields, "consent"),
        credits=_text(fields, "credits"),
    )


def _crop(row: list[object]) -> Crop:
    cx, cy, size, angle = (_number(value, "crops") for value in row)
    if not 8 <= size <= 4 * _MAX_SIDE:
        raise ValueError(f"a crop has side {size}")
    return Crop(cx, cy, size, angle)


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is no text")
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} holds {value!r}, no number")
    return float(value)


def _whole(value: object, key: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{key} is {value!r}, no whole number from {low} to {high}")
    return value
