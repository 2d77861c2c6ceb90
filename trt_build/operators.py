"""What TensorRT's ONNX parser takes: operators, their types and opsets, as far as a mouth could use them.

Source: the support matrix of the onnx-tensorrt project (docs/operators.md, TensorRT 10.15), without
control flow, sequences, recurrent layers and quantised types. The parser of the installed TensorRT has the
last word; this table speaks where there is none.
"""

from collections.abc import Iterator, Mapping
from typing import Any

OPSETS = range(9, 25)
"""Versions of the default operator set that the parser reads."""

_FLOATS = frozenset({"FLOAT", "FLOAT16", "BFLOAT16"})
_NUMBERS = _FLOATS | {"INT32", "INT64"}
_ALL = _NUMBERS | {"BOOL"}

_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare"
)
_NAMES = {
    _FLOATS: """
        Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos
        Cosh Einsum Elu Erf Exp Floor Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization
        HardSigmoid HardSwish InstanceNormalization LayerNormalization LeakyRelu Log LogSoftmax
        LpNormalization MatMul MaxPool Mish PRelu Reciprocal Resize RMSNormalization Round Selu Sigmoid Sin
        Sinh Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu""",
    _NUMBERS: """
        Abs Add ArgMax ArgMin CumSum DepthToSpace Div Equal Gelu Greater GreaterOrEqual Less LessOrEqual Max
        Mean Min Mod Mul Neg Pad Pow Relu ScatterElements ScatterND Sign SpaceToDepth Sub Sum TopK """
    + _REDUCTIONS,
    _ALL: """
        Concat Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND Identity Reshape Shape
        Slice Split Squeeze Tile Transpose Unsqueeze Where""",
    _ALL | {"UINT8"}: "Cast",
    frozenset({"BOOL"}): "And Not Or Xor",
}
OPERATORS: dict[str, frozenset[str]] = {
    name: kinds for kinds, names in _NAMES.items() for name in names.split()
}
"""Operator -> the ONNX data types that it is supported with."""


def refusals(model: Any, types: Mapping[str, str]) -> list[str]:
    """Why TensorRT's parser would refuse an ONNX model, one clause a reason; empty when it would not.

    `types` maps every tensor of the graph to its ONNX data type, such as "FLOAT16".
    """
    graph = model.graph
    reasons = [
        f"opset {entry.version} is outside {OPSETS[0]} to {OPSETS[-1]}"
        for entry in model.opset_import
        if not entry.domain and entry.version not in OPSETS
    ]
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    for node in graph.node:
        reasons += [
            f"{node.op_type} {node.name or node.output[0]!r}: {why}" for why in _node(node, types, constants)
        ]
    return reasons + _bytes_inside(graph, types)


def _node(node: Any, types: Mapping[str, str], constants: set[str]) -> Iterator[str]:
    if node.domain not in ("", "ai.onnx"):
        yield f"operators of the domain {node.domain} are not supported"
        return
    if node.op_type not in OPERATORS:
        yield "this operator is not supported"
        return
    kind = types.get(_typed_by(node), "UNDEFINED")
    if kind not in OPERATORS[node.op_type]:
        yield f"{kind} is not supported here, only {', '.join(sorted(OPERATORS[node.op_type]))}"
    if node.op_type in _REDUCTIONS.split() and len(node.input) > 1 and node.input[1] not in {"", *constants}:
        yield "its axes must be constant"
    if node.op_type == "Resize":
        yield from _resize(node)


def _typed_by(node: Any) -> str:
    """The tensor whose type decides: the first input, but the condition of Where says nothing."""
    if node.op_type in ("Constant", "ConstantOfShape", "Where"):
        return str(node.output[0])
    return str(node.input[0])


def _resize(node: Any) -> Iterator[str]:
    for attribute in node.attribute:
        if attribute.name == "mode" and attribute.s not in (b"nearest", b"linear"):
            yield f"the mode {attribute.s.decode()} is not supported, only nearest and linear"
        if attribute.name == "antialias" and attribute.i:
            yield "antialiasing is not supported"


def _bytes_inside(graph: Any, types: Mapping[str, str]) -> list[str]:
    """Bytes may only be an input or an output of the network, with a Cast right next to it."""
    inputs = {value.name for value in graph.input}
    outputs = {value.name for value in graph.output}
    reasons = []
    for node in graph.node:
        for name in (*node.input, *node.output):
            edge = inputs if name in node.input else outputs
            if name and types.get(name) == "UINT8" and (node.op_type != "Cast" or name not in edge):
                reasons.append(
                    f"{node.op_type} {node.name or node.output[0]!r}: UINT8 {name!r} may only be an input or "
                    "output of the network, right next to a Cast"
                )
    return reasons
