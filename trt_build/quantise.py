"""A mouth's decoder with int8 weights, by post-training quantisation with NNCF, for processors without bf16.

The result is an ONNX file beside the mouth's others (QuantizeLinear and DequantizeLinear around int8
weights). What follows the last convolution stays in floats, so colours keep their levels.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.anchor.crop import Picture
from engine.errors import MissingToolError
from engine.mouth.onnx_file import check_network
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.runtime import Features
from engine.mouth.sheet import MOUTH_DECODER, QUANTISED, read_sheet
from engine.speech.espeak import speak
from engine.speech.mel import COLUMNS_PER_TICK, SILENT_WINDOW, Mel, log_mel, window

Feed = dict[str, NDArray[Any]]

_FACES = 24  # of the presenter, with two windows of sound each


def quantise(mouth: Path, faces: Picture, mels: Mel) -> "Apart":
    """Write QUANTISED into the folder `mouth`, calibrated on idle faces RGB (n, S, S, 3) that hear windows
    of speech (m, 80, 16); returns how far it draws from f32, on windows that it was not calibrated on.

    Raises MissingToolError without NNCF, AvatarError for a damaged mouth.
    """
    try:
        import nncf
    except ImportError as error:
        raise MissingToolError(
            'NNCF is not installed; run `pip install "koubo[quantise]"` and try again.'
        ) from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    exact = OpenVinoMouth(mouth, precision="f32")
    names = read_sheet(mouth).map_names
    faces = faces[:: max(1, len(faces) // _FACES)][:_FACES]
    features = exact.encode(faces)
    model = onnx.load(str(mouth / MOUTH_DECODER))
    _floats(model)
    feeds = list(_feeds(names, features, mels[0::2]))
    made = nncf.quantize(
        model,
        nncf.Dataset(feeds),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(feeds),
        ignored_scope=nncf.IgnoredScope(names=_sensitive(model)),
    )
    part = mouth / f"{QUANTISED}.{os.getpid()}.part"
    try:
        onnx.save(made, str(part))
        check_network(part)
        part.replace(mouth / QUANTISED)
    finally:
        part.unlink(missing_ok=True)
    quick = OpenVinoMouth(mouth, precision="int8")
    held = mels[1::2]
    pairs = [(k % len(features), k % len(held)) for k in range(3 * _FACES)]
    windows, idle = np.stack([held[m] for _, m in pairs]), [features[f] for f, _ in pairs]
    return Apart.of(exact.decode(windows, idle), quick.decode(windows, idle))


@dataclass(frozen=True, slots=True)
class Apart:
    """How far quantised pictures are from exact ones, in levels of 255, and as PSNR in dB."""

    largest: int
    mean: float
    psnr: float

    @classmethod
    def of(cls, exact: Picture, quick: Picture) -> "Apart":
        """Of pictures RGB uint8 (n, S, S, 3)."""
        apart = np.abs(exact.astype(np.int16) - quick)
        square = float(np.mean(np.square(apart, dtype=np.float64)))
        psnr = 10 * float(np.log10(255**2 / square)) if square else float("inf")
        return cls(int(apart.max()), float(apart.mean()), psnr)


def voices_mels(texts: dict[str, str]) -> Mel:
    """Windows (n, 80, 16) of what espeak-ng's voices say, text by voice, and of silence.

    Raises VoiceError without espeak-ng.
    """
    windows = [SILENT_WINDOW]
    for voice, text in texts.items():
        mel = log_mel(speak(text, voice).samples)
        windows += [window(mel, tick) for tick in range(0, int(mel.shape[1] / COLUMNS_PER_TICK), 3)]
    return np.stack(windows)


def _feeds(names: Sequence[str], features: Sequence[Features], mels: Mel) -> Iterator[Feed]:
    """What the decoder is fed with: each face with several windows, in turn."""
    for number in range(2 * len(features)):
        maps = zip(names, features[number % len(features)], strict=True)
        mel = mels[number * len(mels) // (2 * len(features))]
        yield {"mel": mel[None], **{name: map_.transpose(2, 0, 1)[None] for name, map_ in maps}}


def _floats(model: onnx.ModelProto) -> None:
    """Have the network compute in float32, as NNCF asks for; its inputs and outputs stay what they are."""
    graph = model.graph
    tensors = [*graph.initializer]
    for node in graph.node:
        node.name = node.name or node.output[0]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                tensors.append(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT16:
            value = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    del graph.value_info[:]
    casts = []
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            inner = f"{value.name}_float"
            for node in graph.node:
                node.input[:] = [inner if name == value.name else name for name in node.input]
            casts.append(helper.make_node("Cast", [value.name], [inner], name=inner, to=TensorProto.FLOAT))
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *own])


def _sensitive(model: onnx.ModelProto) -> list[str]:
    """Names of operations that stay in floats: what hears the sound, small and decisive, and what paints."""
    of_faces = {value.name for value in model.graph.input if value.name != "mel"}
    sound, last = [], ""
    for node in model.graph.node:
        if of_faces.intersection(node.input):
            of_faces.update(node.output)
            last = node.name if node.op_type == "Conv" else last
        elif node.op_type in ("Conv", "Gemm"):
            sound.append(node.name)
    return [*sound, last]
