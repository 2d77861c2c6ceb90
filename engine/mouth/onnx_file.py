"""A look into an ONNX file before any runtime opens it: it stands alone, and computes nothing but a mouth.

A small reader of the protobuf wire format, so that no further package is needed. Field numbers are those of
onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from collections.abc import Iterator
from pathlib import Path

from engine.errors import AvatarError

# fmt: off
OPERATORS = frozenset((
    "Add", "Atanh", "Cast", "Clip", "Concat", "Constant", "Conv", "ConvTranspose", "Div",
    "Gemm", "GlobalAveragePool", "Mul", "ReduceMean", "Relu", "Reshape", "Round", "Sigmoid",
    "Slice", "Split", "Sub", "Tanh", "Transpose", "Unsqueeze",
))
# fmt: on
"""What the networks of a mouth are made of."""

QUANTISING = frozenset(("DequantizeLinear", "QuantizeLinear"))
"""What a decoder with int8 weights has besides."""

MAX_BYTES = 512 << 20

_KNOWN = OPERATORS | QUANTISING

_DOMAINS = (b"", b"ai.onnx")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_WEIGHT, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS = 5, 10
_ATTRIBUTE_NESTED = (6, 11, 22, 23)  # graphs and sparse tensors
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


def check_network(path: Path) -> None:
    """Raises AvatarError for a file that is no ONNX network, keeps weights in another file, or holds other
    operators than those of a mouth.
    """
    try:
        _check_model(_content(path))
    except (_UnfitError, OSError) as error:
        raise AvatarError(
            f"{path.name} in {path.parent.name} {error}; take a mouth that Koubo exported."
        ) from error


class _UnfitError(Exception):
    """What is wrong with a file."""


def _content(path: Path) -> memoryview:
    if path.stat().st_size > MAX_BYTES:
        raise _UnfitError(f"is larger than {MAX_BYTES >> 20} MB")
    return memoryview(path.read_bytes())


def _check_model(data: memoryview) -> None:
    graphs = 0
    for number, value in _fields(data):
        if number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            raise _UnfitError("holds functions of its own")
        if number == _MODEL_GRAPH:
            graphs += 1
            _check_graph(value)
    if graphs != 1:
        raise _UnfitError("is no ONNX network")


def _check_graph(data: memoryview) -> None:
    for number, value in _fields(data):
        if number == _GRAPH_NODE:
            _check_node(value)
        elif number == _GRAPH_WEIGHT:
            _check_tensor(value)
        elif number == _GRAPH_SPARSE:
            raise _UnfitError("holds sparse weights")


def _check_node(data: memoryview) -> None:
    for number, value in _fields(data):
        if number == _NODE_OPERATOR and bytes(value).decode(errors="replace") not in _KNOWN:
            raise _UnfitError(f"holds the operator {bytes(value[:40]).decode(errors='replace')!r}")
        if number == _NODE_DOMAIN and bytes(value) not in _DOMAINS:
            raise _UnfitError("holds operators of another maker")
        if number == _NODE_ATTRIBUTE:
            for kind, inner in _fields(value):
                if kind in _ATTRIBUTE_NESTED:
                    raise _UnfitError("holds a network within the network")
                if kind in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    _check_tensor(inner)


def _check_tensor(data: memoryview) -> None:
    for number, value in _fields(data):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and bytes(value) != b"\0"):
            raise _UnfitError("keeps weights in another file")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a protobuf message; numbers are left as they are written."""
    at = 0
    while at < len(data):
        key, start = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            _, end = _varint(data, start)
        elif kind == _BYTES:
            length, start = _varint(data, start)
            end = start + length
        elif kind in (_FIXED64, _FIXED32):
            end = start + (8 if kind == _FIXED64 else 4)
        else:
            raise _UnfitError("is no ONNX network")
        if end > len(data):
            raise _UnfitError("breaks off")
        yield key >> 3, data[start:end]
        at = end


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    value = 0
    for position in range(at, min(at + 10, len(data))):
        value |= (data[position] & 0x7F) << (7 * (position - at))
        if data[position] < 0x80:
            return value, position + 1
    raise _UnfitError("breaks off")
