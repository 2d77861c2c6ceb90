"""The networks as PyTorch wrote them -> as every runtime takes them: fp16, pictures as plain bytes.

A strongly typed TensorRT network computes in the types that it finds in the graph, in TensorRT 10 and 11
alike, so the graph itself is made fp16. What pictures go through on their way in and out is computed in
fp32. TensorRT takes uint8 only where a Cast follows an input or leads to an output.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.anchor.crop import input_mask
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS

_BATCH = "batch"


def is_float(model: onnx.ModelProto) -> bool:
    """Whether a network is still as PyTorch wrote it."""
    inputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    return inputs.get("face", inputs.get("skip0")) == TensorProto.FLOAT


def halve_encoder(model: onnx.ModelProto) -> None:
    """`face` float (n, 6, S, S) -> uint8 (n, S, S, 3); scaling and input mask become part of the graph."""
    graph = model.graph
    size = _shape(graph.input[0])[-1]
    _halve(graph)
    shown = (~input_mask(size)).astype(np.float16)[None, None]
    _constant(graph, "face_scale", np.float32(1 / 127.5))
    _constant(graph, "face_one", np.float32(1))
    _constant(graph, "face_shown", shown)
    nodes = [
        helper.make_node("Cast", ["face"], ["face_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["face_float"], ["face_planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["face_planes", "face_scale"], ["face_scaled"]),
        helper.make_node("Sub", ["face_scaled", "face_one"], ["face_centred"]),
        helper.make_node("Cast", ["face_centred"], ["face_whole"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["face_whole", "face_shown"], ["face_masked"]),
        helper.make_node("Concat", ["face_masked", "face_whole"], ["face_input"], axis=1),
    ]
    _rename_input(graph, "face", "face_input")
    for output in graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT16
    _declare(graph.input[0], "face", TensorProto.UINT8, [_BATCH, size, size, 3])
    _nodes(graph, before=nodes)


def halve_decoder(model: onnx.ModelProto) -> None:
    """`mel` (n, 1, 80, 16) -> (n, 80, 16); `picture` to uint8 (n, S, S, 3); maps to fp16."""
    graph = model.graph
    size = _shape(graph.output[0])[-1]
    _halve(graph)
    for value in graph.input:
        if value.name == "mel":
            _declare(value, "mel", TensorProto.FLOAT, [_BATCH, MEL_BANDS, WINDOW_COLUMNS])
        else:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    _constant(graph, "mel_axis", np.array([1], np.int64))
    _constant(graph, "picture_half", np.float32(127.5))
    _constant(graph, "picture_black", np.float32(0))
    _constant(graph, "picture_white", np.float32(255))
    before = [
        helper.make_node("Unsqueeze", ["mel", "mel_axis"], ["mel_plane"]),
        helper.make_node("Cast", ["mel_plane"], ["mel_input"], to=TensorProto.FLOAT16),
    ]
    after = [
        helper.make_node("Cast", ["picture_half_precision"], ["picture_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["picture_float", "picture_half"], ["picture_scaled"]),
        helper.make_node("Add", ["picture_scaled", "picture_half"], ["picture_raised"]),
        helper.make_node("Clip", ["picture_raised", "picture_black", "picture_white"], ["picture_clipped"]),
        helper.make_node("Round", ["picture_clipped"], ["picture_levels"]),
        helper.make_node("Transpose", ["picture_levels"], ["picture_pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["picture_pixels"], ["picture"], to=TensorProto.UINT8),
    ]
    _rename_input(graph, "mel", "mel_input")
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == "picture":
                node.output[index] = "picture_half_precision"
    _declare(graph.output[0], "picture", TensorProto.UINT8, [_BATCH, size, size, 3])
    _nodes(graph, before=before, after=after)


def _halve(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _halve_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _halve_tensor(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    # They tell the types of before.
    del graph.value_info[:]


def _halve_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        value = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _declare(value: onnx.ValueInfoProto, name: str, kind: int, shape: Sequence[Any]) -> None:
    value.CopyFrom(helper.make_tensor_value_info(name, kind, shape))


def _constant(graph: onnx.GraphProto, name: str, value: NDArray[Any] | np.generic) -> None:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def _rename_input(graph: onnx.GraphProto, name: str, new: str) -> None:
    for node in graph.node:
        for index, read in enumerate(node.input):
            if read == name:
                node.input[index] = new


def _nodes(
    graph: onnx.GraphProto, *, before: list[onnx.NodeProto], after: Sequence[onnx.NodeProto] = ()
) -> None:
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *own, *after])
