"""A mouth of a few ONNX nodes that keeps the contract of the trained ones: lips that open with loudness."""

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.anchor.package import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET

_OPSET = [helper.make_opsetid("", 17)]


def write_tiny_mouth(folder: Path, size: int) -> Path:
    """Write face_encoder.onnx, mouth_decoder.onnx and model.json for pictures of `size`; returns `folder`.

    The encoder keeps the idle crop (skip0) and a 1x1 mean (skip1). The decoder darkens an ellipse at the
    mouth of the crop as far as the middle of the mel window is loud.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_encoder(size), str(folder / FACE_ENCODER))
    onnx.save(_decoder(size), str(folder / MOUTH_DECODER))
    sheet = {"schema": 1, "preset": "tiny", "size": size, "mel_lead_ticks": 3, "trained": {}}
    (folder / MOUTH_SHEET).write_text(json.dumps(sheet))
    return folder


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
