"""A mouth that was exported before, brought up to date: its weights stay, its graphs become today's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.errors import AvatarError
from engine.mouth.features import face_input
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, MouthSheet, read_sheet
from engine.speech.mel import Mel
from trt_build.check import Difference, Reference, session
from trt_build.write import write_mouth


def renew(mouth: Path, output: Path) -> dict[str, Difference]:
    """Write the mouth in the folder `mouth`, of this schema or of Koubo 0.1, to `output`, perhaps the same.

    Returns how far the new files are from the old ones, by kind of input. Raises AvatarError for a damaged
    mouth.
    """
    encoder, decoder = _network(mouth / FACE_ENCODER), _network(mouth / MOUTH_DECODER)
    old = _first_sheet(mouth)
    if old is None:
        return write_mouth(encoder, decoder, read_sheet(mouth), output, _as_now(mouth))
    shapes = [[side.dim_value for side in skip.type.tensor_type.shape.dim] for skip in encoder.graph.output]
    sheet = MouthSheet(
        preset=old["preset"],
        size=old["size"],
        maps=tuple((channels, height, width) for _, channels, height, width in shapes),
        mel_lead_ticks=old["mel_lead_ticks"],
        trained=old["trained"],
    )
    return write_mouth(encoder, decoder, sheet, output, _as_first(mouth))


def _first_sheet(mouth: Path) -> dict[str, Any] | None:
    """The sheet of a mouth exported by Koubo 0.1; None for any other."""
    try:
        content = json.loads((mouth / MOUTH_SHEET).read_text(encoding="utf-8"))
        if content["schema"] == 1:
            return {key: content[key] for key in ("preset", "size", "mel_lead_ticks", "trained")}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # read_sheet says what is wrong
    return None


def _network(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise AvatarError(f"{path} is missing or damaged; the mouth must be exported anew.") from error
    return model


def _as_now(mouth: Path) -> Reference:
    runtime = OpenVinoMouth(mouth, precision="f32")

    def draw(faces: Picture, mels: Mel) -> NDArray[np.float32]:
        pictures = runtime.decode(mels, runtime.encode(faces))
        return pictures.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(127.5) - 1

    return draw


def _as_first(mouth: Path) -> Reference:
    encoder, decoder = session(mouth / FACE_ENCODER), session(mouth / MOUTH_DECODER)

    def draw(faces: Picture, mels: Mel) -> NDArray[np.float32]:
        names = [value.name for value in encoder.get_outputs()]
        maps = encoder.run(names, {"face": face_input(faces)})
        drawn: NDArray[np.float32] = decoder.run(
            ["picture"], {"mel": mels[:, None], **dict(zip(names, maps, strict=True))}
        )[0]
        return drawn

    return draw
