"""An exported network (ONNX) as a PyTorch module, operator by operator.

The nodes are written into a `torch.fx` graph, so the module's forward is straight code without a decision in
it: it runs as it is, and can be compiled or captured into a CUDA graph. Weights are buffers, in the file's
types. The batch is free. Only the operators that Koubo's own exports use are known.
"""

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import fx, nn

from engine.errors import AvatarError
from engine.mouth.tensors import Tensor

_MIN_OPSET = 17

_TRIAL_BATCH = 3
"""Neither 1, which broadcasts, nor a size that a fixed shape is likely to have."""

_TYPES = {
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float16): torch.float16,
    np.dtype(np.uint8): torch.uint8,
    np.dtype(np.int64): torch.int64,
}
_KINDS = {onnx.helper.np_dtype_to_tensor_dtype(dtype): kind for dtype, kind in _TYPES.items()}
"""The same types by the numbers that ONNX has for them."""


def load_network(path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> fx.GraphModule:
    """The network in an ONNX file, on the CPU.

    Its forward takes one tensor for each of `inputs` and gives a tuple with one for each of `outputs`, in
    their order. Raises AvatarError: missing, damaged, an unknown operator, or other inputs and outputs.
    """
    try:
        # Reads the file itself, and so turns away whatever is no ONNX at all.
        onnx.checker.check_model(str(path))
        graph = onnx.load(str(path), load_external_data=False)
        module = _Writer(graph, inputs, outputs).module
        _try_shapes(module, inputs, outputs)
    except (_UnusableError, onnx.checker.ValidationError, OSError) as error:
        what = (str(error).strip() or "empty").splitlines()[0].rstrip(".: ")
        raise AvatarError(
            f"The mouth in {path.parent} is damaged ({path.name}: {what}); export it again."
        ) from error
    return module


class _UnusableError(Exception):
    """Why a graph cannot be run."""


class _Node:
    """An ONNX node, and the means to write it into the PyTorch graph."""

    def __init__(self, writer: "_Writer", proto: onnx.NodeProto) -> None:
        self._writer = writer
        self._inputs = list(proto.input)
        self._attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
        self.outputs = list(proto.output)
        self.kind = str(proto.op_type)

    def has(self, position: int) -> bool:
        """Whether the optional input at `position` is given."""
        return position < len(self._inputs) and self._inputs[position] != ""

    def tensor(self, position: int) -> fx.Node:
        """An input as a tensor."""
        return self._writer.tensor(self._inputs[position])

    def tensors(self) -> list[fx.Node]:
        """All inputs as tensors."""
        return [self._writer.tensor(name) for name in self._inputs]

    def constant(self, position: int) -> NDArray[Any]:
        """An input that must be known before the network runs."""
        value = self._writer.constants.get(self._inputs[position])
        if value is None:
            raise _UnusableError(f"{self.kind} takes {self._inputs[position]!r}, which is no constant")
        return value

    def integers(self, position: int) -> tuple[int, ...]:
        """A constant input of integers."""
        return tuple(int(number) for number in self.constant(position).ravel())

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where the node has none."""
        value = self._attributes.get(name, default)
        return tuple(value) if isinstance(value, list) else value

    def call(self, function: Callable[..., object], *values: Any, **settings: Any) -> fx.Node:
        """Write a call of `function` into the graph."""
        return self._writer.graph.call_function(function, values, settings)


class _Writer:
    """Writes the nodes of an ONNX graph, in order, into a PyTorch one."""

    def __init__(self, model: onnx.ModelProto, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        if opset < _MIN_OPSET:
            raise _UnusableError(f"operator set {opset} is older than {_MIN_OPSET}")
        self.graph = fx.Graph()
        self.constants = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
        self._weights = nn.Module()
        self._values: dict[str, fx.Node] = {}
        _check_inputs(model.graph, inputs)
        for port in inputs:
            self._values[port.name] = self.graph.placeholder(port.name)
        for proto in model.graph.node:
            self._write(proto)
        self.graph.output(tuple(self.tensor(port.name) for port in outputs))
        self.module = fx.GraphModule(self._weights, self.graph)

    def tensor(self, name: str) -> fx.Node:
        """The value `name`; a constant becomes a buffer when it is first asked for."""
        if name not in self._values:
            if name not in self.constants:
                raise _UnusableError(f"nothing makes {name!r}")
            buffer = f"constant{len(dict(self._weights.named_buffers()))}"
            self._weights.register_buffer(buffer, _channels_last(torch.from_numpy(self.constants[name])))
            self._values[name] = self.graph.get_attr(buffer)
        return self._values[name]

    def _write(self, proto: onnx.NodeProto) -> None:
        node = _Node(self, proto)
        if node.kind == "Constant":
            self.constants[node.outputs[0]] = _array(node.attribute("value"))
            return
        write = _OPERATORS.get(node.kind)
        if write is None or proto.domain not in ("", "ai.onnx"):
            raise _UnusableError(f"the PyTorch runtime does not know the operator {node.kind}")
        made = write(node)
        results = made if isinstance(made, list) else [made]
        self._values |= dict(zip(node.outputs, results, strict=True))


def _array(tensor: onnx.TensorProto | None) -> NDArray[Any]:
    if tensor is None or tensor.data_type not in _KINDS:
        raise _UnusableError("it holds a constant of a type that the PyTorch runtime does not know")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise _UnusableError("its weights lie in another file")
    try:
        # A copy: what protobuf gives may be read-only.
        return np.array(numpy_helper.to_array(tensor))
    except ValueError as error:
        raise _UnusableError(f"the constant {tensor.name!r} is cut off") from error


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """In the order of memory in which GPUs convolve fp16 fastest."""
    return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _check_inputs(graph: onnx.GraphProto, inputs: Sequence[Tensor]) -> None:
    declared = {value.name: value.type.tensor_type for value in graph.input}
    if declared.keys() != {tensor.name for tensor in inputs}:
        raise _UnusableError(f"it takes {', '.join(declared) or 'nothing'}")
    for tensor in inputs:
        kind = declared[tensor.name]
        batch, *shape = [dim.dim_value for dim in kind.shape.dim] or [1]
        # A free dimension has a name or nothing, and then the value 0.
        if (_KINDS.get(kind.elem_type), batch, tuple(shape)) != (_TYPES[tensor.dtype], 0, tensor.shape):
            raise _UnusableError(f"{tensor.name} is not {tensor.dtype} {_shown('n', tensor.shape)}")


def _try_shapes(module: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Runs shapes and types alone through the network: no memory, no arithmetic."""
    weights = {name: buffer.to("meta") for name, buffer in module.named_buffers()}
    given = tuple(
        torch.empty((_TRIAL_BATCH, *tensor.shape), dtype=_TYPES[tensor.dtype], device="meta")
        for tensor in inputs
    )
    try:
        made: tuple[torch.Tensor, ...] = torch.func.functional_call(module, weights, given)
    except (RuntimeError, IndexError, TypeError) as error:
        raise _UnusableError(str(error)) from error
    for tensor, found in zip(outputs, made, strict=True):
        if (found.dtype, found.shape) != (_TYPES[tensor.dtype], (_TRIAL_BATCH, *tensor.shape)):
            kind = str(found.dtype).removeprefix("torch.")
            batch, *shape = found.shape or (0,)
            shown = _shown("n" if batch == _TRIAL_BATCH else batch, shape)
            raise _UnusableError(
                f"{tensor.name} is {kind} {shown}, not {tensor.dtype} {_shown('n', tensor.shape)}"
            )


def _shown(batch: int | str, shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, (batch, *shape)))})"


_Operator = Callable[[_Node], fx.Node | list[fx.Node]]


def _plain(function: Callable[..., object]) -> _Operator:
    """An operator that is one PyTorch function of its inputs."""
    return lambda node: node.call(function, *node.tensors())


def _cast(node: _Node) -> fx.Node:
    kind = _KINDS.get(node.attribute("to"))
    if kind is None:
        raise _UnusableError("it casts to a type that the PyTorch runtime does not know")
    return node.call(torch.Tensor.to, node.tensor(0), kind)


def _clip(node: _Node) -> fx.Node:
    low, high = (node.constant(k).item() if node.has(k) else None for k in (1, 2))
    return node.call(torch.clamp, node.tensor(0), low, high)


def _concat(node: _Node) -> fx.Node:
    return node.call(torch.cat, node.tensors(), node.attribute("axis"))


def _conv(node: _Node) -> fx.Node:
    kernel, strides, dilations = _window(node)
    x = node.tensor(0)
    pads = node.attribute("pads", (0, 0, 0, 0))
    auto = node.attribute("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        x = node.call(_pad_same, x, kernel, strides, dilations, auto == b"SAME_LOWER")
        pads = (0, 0, 0, 0)
    elif pads[:2] != pads[2:]:
        top, left, bottom, right = pads
        x = node.call(nn.functional.pad, x, (left, right, top, bottom))
        pads = (0, 0, 0, 0)
    bias = node.tensor(2) if node.has(2) else None
    groups = node.attribute("group", 1)
    return node.call(torch.conv2d, x, node.tensor(1), bias, strides, pads[:2], dilations, groups)


def _conv_transpose(node: _Node) -> fx.Node:
    _, strides, dilations = _window(node)
    pads = node.attribute("pads", (0, 0, 0, 0))
    automatic = node.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if automatic or node.attribute("output_shape") or pads[:2] != pads[2:]:
        raise _UnusableError("the PyTorch runtime does not know the padding of its ConvTranspose")
    bias = node.tensor(2) if node.has(2) else None
    more = node.attribute("output_padding", (0, 0))
    groups = node.attribute("group", 1)
    x, weight = node.tensor(0), node.tensor(1)
    return node.call(torch.conv_transpose2d, x, weight, bias, strides, pads[:2], more, groups, dilations)


def _window(node: _Node) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernel size, strides and dilations of a convolution of pictures."""
    shape = node.constant(1).shape
    if len(shape) != 4:
        raise _UnusableError(f"the PyTorch runtime knows {node.kind} of pictures only")
    return shape[2:], node.attribute("strides", (1, 1)), node.attribute("dilations", (1, 1))


def _gemm(node: _Node) -> fx.Node:
    a, b = node.tensor(0), node.tensor(1)
    if node.attribute("transA", 0):
        a = node.call(torch.t, a)
    if node.attribute("transB", 0):
        b = node.call(torch.t, b)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if node.has(2):
        return node.call(torch.addmm, node.tensor(2), a, b, beta=beta, alpha=alpha)
    return node.call(torch.mul, node.call(torch.mm, a, b), alpha)


def _mean(node: _Node) -> fx.Node:
    axes = node.integers(1) if node.has(1) else node.attribute("axes", ())
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return node.tensor(0)
    return node.call(torch.mean, node.tensor(0), axes or None, bool(node.attribute("keepdims", 1)))


def _pooled(node: _Node) -> fx.Node:
    return node.call(torch.mean, node.tensor(0), (2, 3), True)


def _reshaped(node: _Node) -> fx.Node:
    copies = not node.attribute("allowzero", 0)
    return node.call(_reshape, node.tensor(0), node.integers(1), copies)


def _sliced(node: _Node) -> fx.Node:
    starts, ends = node.integers(1), node.integers(2)
    axes = node.integers(3) if node.has(3) else tuple(range(len(starts)))
    steps = node.integers(4) if node.has(4) else (1,) * len(starts)
    if min(steps) < 1:
        raise _UnusableError("the PyTorch runtime does not know a Slice that runs backwards")
    x = node.tensor(0)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        x = node.call(_slice, x, axis, start, end, step)
    return x


def _split(node: _Node) -> list[fx.Node]:
    axis, count = node.attribute("axis", 0), len(node.outputs)
    x = node.tensor(0)
    sizes = node.integers(1) if node.has(1) else None
    parts = node.call(torch.split, x, sizes, axis) if sizes else node.call(_even_parts, x, count, axis)
    return [node.call(operator.getitem, parts, number) for number in range(count)]


def _transposed(node: _Node) -> fx.Node:
    return node.call(torch.permute, node.tensor(0), node.attribute("perm", ()))


def _unsqueezed(node: _Node) -> fx.Node:
    x = node.tensor(0)
    axes = node.integers(1)
    if min(axes) < 0:
        raise _UnusableError("the PyTorch runtime does not know an Unsqueeze that counts from the end")
    for axis in sorted(axes):
        x = node.call(torch.unsqueeze, x, axis)
    return x


_OPERATORS: dict[str, _Operator] = {
    "Add": _plain(torch.add),
    "Atanh": _plain(torch.atanh),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _plain(torch.div),
    "Gemm": _gemm,
    "GlobalAveragePool": _pooled,
    "Mul": _plain(torch.mul),
    "ReduceMean": _mean,
    "Relu": _plain(torch.relu),
    "Reshape": _reshaped,
    "Round": _plain(torch.round),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _sliced,
    "Split": _split,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
}


# What PyTorch has no single function for, called while the network runs. Shapes are plain numbers there.


def _even_parts(x: torch.Tensor, count: int, axis: int) -> Sequence[torch.Tensor]:
    """`count` parts, of which the last may be smaller."""
    parts: Sequence[torch.Tensor] = torch.split(x, -(-x.shape[axis] // count), axis)
    return parts


def _pad_same(
    x: torch.Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], lower: bool
) -> torch.Tensor:
    """Zeros around x so that a convolution gives ceil(side / stride); an odd one goes below or above."""
    pads: list[int] = []
    for side, size, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
        small, large = total // 2, total - total // 2
        # PyTorch wants the last side first.
        pads = [*((large, small) if lower else (small, large)), *pads]
    return nn.functional.pad(x, pads)


def _reshape(x: torch.Tensor, shape: Sequence[int], copies: bool) -> torch.Tensor:
    """-1 is what is left; 0 is as long as before, unless not `copies`."""
    return x.reshape([x.shape[k] if size == 0 and copies else size for k, size in enumerate(shape)])


def _slice(x: torch.Tensor, axis: int, start: int, end: int, step: int) -> torch.Tensor:
    places = [slice(None)] * x.dim()
    places[axis] = slice(start, end, step)
    return x[tuple(places)]
