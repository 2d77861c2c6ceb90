"""What a mouth costs: operations and bytes counted from its ONNX files, and the fastest a card can be.

Counted are the operators that multiply matrices; the pointwise ones between them are taken as fused.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import AvatarError, MissingToolError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """One half of a mouth, for one face.

    `macs`: multiply-accumulates; `weight_bytes`: read once a call, however many faces; `edge_bytes`: what
    goes in and comes out of the half; `layer_bytes`: what its matrix operators read and write, one by one,
    without weights.
    """

    macs: int
    weight_bytes: int
    edge_bytes: int
    layer_bytes: int


@dataclass(frozen=True, slots=True)
class MouthCost:
    """Both halves; `map_bytes` is what the face encoder keeps of one anchor frame."""

    encoder: Cost
    decoder: Cost
    map_bytes: int


@dataclass(frozen=True, slots=True)
class Card:
    """Published figures of a GPU: dense fp16 tensor operations and bytes a second."""

    operations: float
    bandwidth: float


def _card(teraflops: float, gigabytes: float) -> Card:
    return Card(teraflops * 1e12, gigabytes * 1e9)


# NVIDIA's data sheets and architecture white papers: fp16 on tensor cores without sparsity (half of a data
# sheet's figure "with sparsity"), accumulating in fp16 where a card is faster so; memory bandwidth. The keys
# are the names that the driver gives: variants of a card differ.
CARDS = {
    "NVIDIA H200": _card(989.5, 4800),
    "NVIDIA H200 NVL": _card(835.5, 4800),
    "NVIDIA H100 80GB HBM3": _card(989.5, 3350),
    "NVIDIA H100 PCIe": _card(756.5, 2000),
    "NVIDIA A100-SXM4-80GB": _card(312, 2039),
    "NVIDIA A100-SXM4-40GB": _card(312, 1555),
    "NVIDIA A100 80GB PCIe": _card(312, 1935),
    "NVIDIA A100-PCIE-40GB": _card(312, 1555),
    "NVIDIA A10": _card(125, 600),
    "NVIDIA L4": _card(121, 300),
    "NVIDIA L40S": _card(362, 864),
    "NVIDIA GeForce RTX 4090": _card(330.3, 1008),
    "NVIDIA GeForce RTX 3090": _card(142, 936),
}


@dataclass(frozen=True, slots=True)
class Roofline:
    """The live half on a card at one batch, in milliseconds a call.

    `floor`: no program can be faster: the operations at the card's peak, or weights, inputs and pictures
    through its memory, whichever takes longer. `layered`: the same when every operator passes its maps
    through memory; maps that stay in the cache beat it.
    """

    batch: int
    floor: float
    layered: float

    @property
    def streams(self) -> int:
        """How many streams of 25 pictures a second could be drawn at most, one call after the other."""
        return math.floor(1000 * self.batch / self.floor / 25)


def roofline(half: Cost, gpu: str, batches: Sequence[int]) -> list[Roofline] | None:
    """The roofline of `half` for a GPU by its driver's name; None for a card that is not in the table."""
    card = CARDS.get(gpu)
    if card is None:
        return None
    lines = []
    for batch in batches:
        compute = batch * 2 * half.macs / card.operations
        edges, layers = (
            (half.weight_bytes + batch * size) / card.bandwidth
            for size in (half.edge_bytes, half.layer_bytes)
        )
        lines.append(Roofline(batch, 1000 * max(compute, edges), 1000 * max(compute, layers)))
    return lines


def mouth_cost(mouth: Path) -> MouthCost:
    """Count the mouth in a folder. Raises MissingToolError without onnx, AvatarError for a damaged file."""
    encoder = half_cost(mouth / FACE_ENCODER)
    decoder = half_cost(mouth / MOUTH_DECODER)
    return MouthCost(encoder.cost, decoder.cost, encoder.output_bytes)


@dataclass(frozen=True, slots=True)
class HalfCost:
    """One ONNX file, counted; `output_bytes`: all its outputs for one face."""

    cost: Cost
    output_bytes: int


def half_cost(path: Path) -> HalfCost:
    """Count one ONNX file at a batch of one. Raises MissingToolError, AvatarError."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingToolError(
            "Counting a mouth's operations needs onnx; install it with `pip install 'koubo[bench]'`."
        ) from error
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        graph = _Graph(_inferred(onnx, model))
        return HalfCost(_count(graph), graph.bytes_of(graph.outputs))
    except (
        OSError,
        KeyError,
        DecodeError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise AvatarError(f"{path} cannot be counted ({error!r}); export the mouth again.") from error


def _inferred(onnx: Any, model: Any) -> Any:
    """The model with every tensor's shape at a batch of one."""
    del model.graph.value_info[:]
    for tensor in model.graph.input:
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    for tensor in model.graph.output:
        tensor.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


class _Graph:
    """Shapes and sizes of a model's tensors, by name."""

    def __init__(self, model: Any) -> None:
        from onnx import helper

        graph = model.graph
        self.nodes = list(graph.node)
        self.weights = {tensor.name for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.weights]
        self.outputs = [value.name for value in graph.output]
        self._shapes: dict[str, Shape] = {}
        self._width: dict[str, int] = {}
        for tensor in graph.initializer:
            self._shapes[tensor.name] = tuple(tensor.dims)
            self._width[tensor.name] = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            self._shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
            self._width[value.name] = helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize

    def shape(self, name: str) -> Shape:
        """Raises KeyError for a tensor whose shape nobody knows."""
        shape = self._shapes[name]
        if 0 in shape:
            raise KeyError(f"the shape of {name} is not fixed by the batch")
        return shape

    def bytes_of(self, names: Sequence[str]) -> int:
        return sum(math.prod(self.shape(name)) * self._width[name] for name in names)

    def counted(self) -> Iterator[tuple[Any, int]]:
        """The operators that multiply matrices, with their multiply-accumulates."""
        for node in self.nodes:
            if node.op_type in _MACS:
                shapes = [self.shape(name) for name in (*node.input[:2], node.output[0])]
                yield node, _MACS[node.op_type](node, *shapes)


def _count(graph: _Graph) -> Cost:
    macs = layer_bytes = 0
    for node, spent in graph.counted():
        macs += spent
        maps = [name for name in (*node.input, *node.output) if name and name not in graph.weights]
        layer_bytes += graph.bytes_of(maps)
    weight_bytes = graph.bytes_of(sorted(graph.weights))
    return Cost(macs, weight_bytes, graph.bytes_of([*graph.inputs, *graph.outputs]), layer_bytes)


def _conv(node: Any, taken: Shape, weight: Shape, given: Shape) -> int:
    # Each value given sums over (input channels of its group) x (kernel): weight (out, in / groups, ...).
    return math.prod(given) * math.prod(weight[1:])


def _conv_transpose(node: Any, taken: Shape, weight: Shape, given: Shape) -> int:
    # Each value taken is spread over (output channels of its group) x (kernel): weight (in, out / groups...).
    return math.prod(taken) * math.prod(weight[1:])


def _gemm(node: Any, taken: Shape, weight: Shape, given: Shape) -> int:
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(given) * taken[0 if transposed else 1]


def _matmul(node: Any, taken: Shape, weight: Shape, given: Shape) -> int:
    return math.prod(given) * taken[-1]


_MACS: dict[str, Callable[[Any, Shape, Shape, Shape], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
