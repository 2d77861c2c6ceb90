"""What a trained mouth is on disk: two networks and model.json, the sheet that describes them.

`face_encoder.onnx`: `face` uint8 (n, S, S, 3) RGB -> `skip0` ... `skipK` float16, largest map first.
`mouth_decoder.onnx`: `mel` float32 (n, 80, 16) and `skip0` ... `skipK` -> `picture` uint8 (n, S, S, 3) RGB.
The batch n is free, 1 to 64. Scaling and masking of pictures are part of the graphs, so every runtime
gets and gives plain bytes; weights and maps are float16.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import AvatarError

FACE_ENCODER = "face_encoder.onnx"
MOUTH_DECODER = "mouth_decoder.onnx"
MOUTH_SHEET = "model.json"

QUANTISED = "mouth_decoder_int8.onnx"
"""Beside them where `koubo quantise` was run: the decoder with int8 weights, for processors without bf16."""

SCHEMA = 2

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class MouthSheet:
    """model.json: the preset's name, the side of its pictures, (channels, height, width) of each map.

    `mel_lead_ticks`: how far into the window the drawn moment lies; `trained`: data, minutes, scores.
    """

    preset: str
    size: int
    maps: tuple[tuple[int, int, int], ...]
    mel_lead_ticks: int
    trained: dict[str, Any]

    @property
    def map_names(self) -> list[str]:
        """`skip0` ... `skipK`."""
        return [f"skip{number}" for number in range(len(self.maps))]


def read_sheet(mouth: Path) -> MouthSheet:
    """The sheet in the folder `mouth`. Raises AvatarError: missing, damaged or of another schema."""
    path = mouth / MOUTH_SHEET
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema"]
        if schema == SCHEMA:
            return MouthSheet(
                str(content["preset"]),
                int(content["size"]),
                tuple((int(c), int(h), int(w)) for c, h, w in content["maps"]),
                int(content["mel_lead_ticks"]),
                dict(content["trained"]),
            )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise AvatarError(
            f"The mouth sheet {path} is missing or damaged ({error!r}); export the mouth again."
        ) from error
    if schema == 1:
        raise AvatarError(
            f"The mouth in {mouth} was exported by Koubo 0.1; bring it up to date in place with "
            f"`koubo export --avatar {mouth} --output {mouth}`."
        )
    raise AvatarError(
        f"{path} has schema {schema!r}, this Koubo reads schema {SCHEMA}; export the mouth again."
    )


def write_sheet(mouth: Path, sheet: MouthSheet) -> None:
    """Write model.json into the folder `mouth`."""
    content = {
        "schema": SCHEMA,
        "preset": sheet.preset,
        "size": sheet.size,
        "mel_lead_ticks": sheet.mel_lead_ticks,
        "maps": [list(shape) for shape in sheet.maps],
        "trained": sheet.trained,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (mouth / MOUTH_SHEET).write_text(text + "\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
