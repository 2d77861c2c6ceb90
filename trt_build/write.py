"""A mouth's folder written whole or not at all, after it was shown to draw what it should."""

import tempfile
from pathlib import Path

import onnx

from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, MouthSheet, write_sheet
from trt_build.check import Difference, Reference, check
from trt_build.half import halve_decoder, halve_encoder, is_float


def write_mouth(
    encoder: onnx.ModelProto,
    decoder: onnx.ModelProto,
    sheet: MouthSheet,
    output: Path,
    reference: Reference,
) -> dict[str, Difference]:
    """Make both networks fp16 where they are not, check them against `reference`, put them into `output`.

    Returns the differences by kind of input. Raises KouboError when they are too large; `output` is then as
    it was before.
    """
    if is_float(encoder):
        halve_encoder(encoder)
    if is_float(decoder):
        halve_decoder(decoder)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        folder = Path(scratch)
        for network, name in ((encoder, FACE_ENCODER), (decoder, MOUTH_DECODER)):
            onnx.checker.check_model(network, full_check=True)
            onnx.save(network, str(folder / name))
        write_sheet(folder, sheet)
        found = check(folder, sheet, reference)
        for name in (FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET):
            (folder / name).replace(output / name)
    return found
