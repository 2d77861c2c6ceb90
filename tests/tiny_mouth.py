"""A mouth of a few ONNX nodes that keeps the contract of the trained ones: lips that open with loudness."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MouthSheet, write_sheet
from trt_build.half import halve_decoder, halve_encoder

_OPSET = [helper.make_opsetid("", 17)]


def write_tiny_mouth(folder: Path, size: int) -> Path:
    """Write face_encoder.onnx, mouth_decoder.onnx and model.json for pictures of `size`; returns `folder`.

    The encoder keeps the idle crop (skip0) and a 1x1 mean (skip1). The decoder darkens an ellipse at the
    mouth of the crop as far as the middle of the mel window is loud.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder, decoder = float_networks(size)
    halve_encoder(encoder)
    halve_decoder(decoder)
    onnx.save(encoder, str(folder / FACE_ENCODER))
    onnx.save(decoder, str(folder / MOUTH_DECODER))
    write_sheet(folder, MouthSheet("tiny", size, ((3, size, size), (3, 1, 1)), 3, {}))
    return folder


def float_networks(size: int) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Encoder and decoder as PyTorch's exporter would write them, and as Koubo 0.1 kept them: all float32."""
    return _encoder(size), _decoder(size)


def _encoder(size: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Slice", ["face", "from", "to", "axis"], ["skip0"]),
        helper.make_node("GlobalAveragePool", ["skip0"], ["skip1"]),
    ]
    constants = {"from": np.array([3]), "to": np.array([6]), "axis": np.array([1])}
    outputs = [_tensor("skip0", 3, size, size), _tensor("skip1", 3, 1, 1)]
    return _model(nodes, [_tensor("face", 6, size, size)], outputs, constants)


def _decoder(size: int) -> onnx.ModelProto:
    rows, columns = np.mgrid[:size, :size] / size
    ellipse = ((columns - 0.5) / 0.14) ** 2 + ((rows - 0.46) / 0.08) ** 2 < 1
    nodes = [
        helper.make_node("Slice", ["mel", "from", "to", "axis"], ["middle"]),
        helper.make_node("ReduceMean", ["middle"], ["level"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Add", ["level", "four"], ["loudness"]),
        helper.make_node("Mul", ["loudness", "ellipse"], ["shadow"]),
        helper.make_node("Mul", ["skip1", "zero"], ["nothing"]),
        helper.make_node("Sub", ["skip0", "shadow"], ["shaded"]),
        helper.make_node("Add", ["shaded", "nothing"], ["sum"]),
        helper.make_node("Clip", ["sum", "low", "high"], ["picture"]),
    ]
    constants = {
        "from": np.array([6]),
        "to": np.array([12]),
        "axis": np.array([3]),
        "four": np.array(4, np.float32),
        "zero": np.array(0, np.float32),
        "ellipse": ellipse.astype(np.float32)[None, None] * np.float32(0.5),
        "low": np.array(-1, np.float32),
        "high": np.array(1, np.float32),
    }
    inputs = [_tensor("mel", 1, 80, 16), _tensor("skip0", 3, size, size), _tensor("skip1", 3, 1, 1)]
    return _model(nodes, inputs, [_tensor("picture", 3, size, size)], constants)


def _tensor(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[np.int64] | NDArray[np.float32]],
) -> onnx.ModelProto:
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=_OPSET)
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model
