"""A mouth's decoder made ready for a CPU: it computes a region alone, on memory that lies as processors like.

What is computed stays what the network says. Where a graph is not understood, it is left as it is.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import openvino as ov
import openvino.opset13 as ops
from numpy.typing import NDArray

from engine.mouth.region import Region

SMALLEST = 48
"""Maps with smaller sides are computed whole: they cost little, and every pixel depends on most of them."""

_POINTWISE = frozenset({
    "Abs", "Add", "Atanh", "Clamp", "Convert", "Divide", "FakeQuantize", "Maximum", "Minimum", "Multiply",
    "PRelu", "Relu", "Round", "Sigmoid", "Subtract", "Tanh",
})  # fmt: skip
_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
_TRANSPOSED = "ConvolutionBackpropData"
_NHWC, _NCHW = (0, 2, 3, 1), (0, 3, 1, 2)

_Axes = tuple[int, int]  # those of a tensor's rows and columns
_Place = tuple[ov.Node, int]


class _NotUnderstoodError(Exception):
    """The graph holds something that the walk does not know."""


def restrict(decoder: ov.Model, region: Region) -> dict[str, Region] | None:
    """Change a decoder of fixed shapes, so that its picture is `region` of the one that it drew.

    All maps of one size are cut to one box: what the region depends on. Convolutions keep their padding, so
    their values are wrong at a cut border, which nothing in the region reads. Returns the box of each input
    that was cut and of "picture", which is a little larger than asked for; None, and the decoder as it was,
    where the graph is not understood.
    """
    try:
        plan = _Plan(decoder, region)
    except _NotUnderstoodError:
        return None
    return plan.apply()


class _Plan:
    """Which box of every map the region depends on; found by walking from the picture to the inputs."""

    def __init__(self, decoder: ov.Model, region: Region) -> None:
        self._decoder = decoder
        self._region = region
        self._axes: dict[_Place, _Axes] = {}
        self._boxes: dict[int, Region] = {}
        # Until no box grows: what is read of a map depends on the boxes of larger ones.
        while True:
            before = dict(self._boxes)
            self._walk()
            if self._boxes == before:
                break
        self._check()

    def _walk(self) -> None:
        (result,) = self._decoder.get_results()
        needs: dict[_Place, Region] = {}
        self._ask(result.input_value(0), (1, 2), self._region, needs)
        for node in reversed(self._decoder.get_ordered_ops()):
            for output in node.outputs():
                need = needs.get((node, output.get_index()))
                if need is not None:
                    for source, axes, part in self._needs_of(node, output, need):
                        self._ask(source, axes, part, needs)

    def _check(self) -> None:
        """Refuse squares too small to be cut, and maps that something else reads: a mean would be another."""
        known = {node.get_instance_id() for node, _ in self._axes}
        readers = [
            target.get_node()
            for node, index in self._axes
            for target in node.output(index).get_target_inputs()
        ]
        known |= {node.get_instance_id() for node in self._decoder.get_results()}
        for node in readers:
            # Of shapes, only the number of axes is asked for: that of a bias, which is laid out alike.
            if node.get_instance_id() not in known and node.get_type_name() != "ShapeOf":
                raise _NotUnderstoodError
        if not self._boxes:
            raise _NotUnderstoodError

    def _ask(self, source: ov.Output, axes: _Axes, part: Region, needs: dict[_Place, Region]) -> None:
        """Note that `part` of a map is needed."""
        height, width = (source.get_shape()[axis] for axis in axes)
        if height != width:
            raise _NotUnderstoodError
        if height < SMALLEST:
            return
        place = source.get_node(), source.get_index()
        if self._axes.setdefault(place, axes) != axes:
            raise _NotUnderstoodError
        needs[place] = part.union(needs[place]) if place in needs else part
        box = self._boxes.get(height)
        self._boxes[height] = box.union(part) if box else part

    def _needs_of(
        self, node: ov.Node, output: ov.Output, need: Region
    ) -> Iterator[tuple[ov.Output, _Axes, Region]]:
        """What an operation reads to compute `need` of its output."""
        kind, axes = node.get_type_name(), self._axes[node, output.get_index()]
        if kind in ("Parameter", "Constant"):
            return
        if kind == "Transpose":
            order = _constant(node.input_value(1))
            yield node.input_value(0), (int(order[axes[0]]), int(order[axes[1]])), need
        elif kind in _POINTWISE:
            for source in node.input_values():
                if _spans(source, output, axes):
                    yield source, axes, need
        elif kind in ("Concat", "Split", "VariadicSplit"):
            if kind == "Concat":
                across = int(node.get_attributes()["axis"]) % 4
            else:
                across = int(_constant(node.input_value(1))) % 4
            if across in axes:
                raise _NotUnderstoodError
            for source in node.input_values() if kind == "Concat" else [node.input_value(0)]:
                yield source, axes, need
        elif kind in _CONVOLUTIONS and axes == (2, 3):
            reach = _same_reach(node)
            yield node.input_value(0), axes, _grown(need, reach, output.get_shape()[2])
        elif kind == _TRANSPOSED and axes == (2, 3):
            box = self._boxes[output.get_shape()[2]]
            yield node.input_value(0), axes, _behind(node, box, node.input_value(0).get_shape()[2])
        else:
            raise _NotUnderstoodError

    def apply(self) -> dict[str, Region]:
        """Cut the maps; the boxes of the inputs."""
        cut = {"picture": self._boxes[int(self._decoder.output("picture").shape[1])]}
        for (node, index), axes in self._axes.items():
            size = int(node.output(index).get_shape()[axes[0]])
            box = self._boxes[size]
            if node.get_type_name() == "Parameter":
                shape = list(node.output(0).get_shape())
                shape[axes[0]], shape[axes[1]] = _height(box), _width(box)
                node.set_partial_shape(ov.PartialShape(shape))
                cut[node.output(0).get_any_name()] = box
            elif node.get_type_name() == "Constant":
                part: list[slice] = [slice(None)] * len(node.output(0).get_shape())
                part[axes[0]], part[axes[1]] = box.rows, box.columns
                _replace(node.output(0), ops.constant(np.ascontiguousarray(node.data[tuple(part)])))
            elif node.get_type_name() == _TRANSPOSED:
                source = node.input_value(0)
                before = int(source.get_shape()[2])
                _cut_transposed(node, self._boxes.get(before, Region.whole(before)), box)
        self._decoder.validate_nodes_and_infer_types()
        return cut


def flatten_tail(decoder: ov.Model) -> None:
    """Have what follows the last convolution work on plain rows of numbers, channels last, as the picture is.

    Three channels fill a fifth of a vector register; tanh and the like, fused to such a convolution, are
    computed for empty lanes. (A sixth of lite192's time on a CPU with AVX-512.)
    """
    (result,) = decoder.get_results()
    node = result.input_value(0).get_node()
    while node.get_type_name() in _POINTWISE and node.get_input_size() == 1:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Transpose" or tuple(_constant(node.input_value(1))) != _NHWC:
        return
    batch, height, width, channels = node.output(0).get_shape()
    flat = [batch, height * width * channels]
    tail = set(_pointwise_before(node))
    if not tail:
        return
    shape = list(node.input_value(0).get_shape())
    known: dict[_Place, ov.Output] = {}
    for each in tail:
        for entry in each.inputs():
            source = entry.get_source_output()
            if source.get_node() in tail:
                continue
            place = source.get_node(), source.get_index()
            if place not in known:
                known[place] = _flat(source, shape, flat)
            entry.replace_source_output(known[place])
    pixels = ops.reshape(node.input_value(0), np.array([batch, height, width, channels]), special_zero=False)
    _replace(node.output(0), pixels)
    decoder.validate_nodes_and_infer_types()


def channels_last(network: ov.Model, names: Iterable[str]) -> ov.Model:
    """The network with these inputs or outputs (n, C, H, W) as (n, H, W, C): nothing has to be turned around
    for convolutions, which work on maps whose channels lie together.
    """
    steps = ov.preprocess.PrePostProcessor(network)
    inputs = {name for port in network.inputs for name in port.get_names()}
    for name in names:
        what = steps.input(name) if name in inputs else steps.output(name)
        what.tensor().set_layout(ov.Layout("NHWC"))
        what.model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def _pointwise_before(transpose: ov.Node) -> Iterator[ov.Node]:
    """Operations on single pixels that lead to the transposition and nowhere else."""
    shape = transpose.input_value(0).get_shape()
    waiting, seen = [transpose.input_value(0)], {transpose}
    while waiting:
        output = waiting.pop()
        node = output.get_node()
        users = {target.get_node() for target in output.get_target_inputs()}
        if node.get_type_name() not in _POINTWISE or not users <= seen or node in seen:
            continue
        # A value for each channel has no place among plain numbers: such a bias stays with its convolution.
        if any(source.get_shape() != shape and _count(source) != 1 for source in node.input_values()):
            continue
        seen.add(node)
        yield node
        waiting.extend(source for source in node.input_values() if source.get_shape() == shape)


def _flat(source: ov.Output, shape: list[int], flat: list[int]) -> ov.Output:
    if list(source.get_shape()) == shape:
        turned = ops.transpose(source, np.array(_NHWC))
        return ops.reshape(turned, np.array(flat), special_zero=False).output(0)
    return ops.reshape(source, np.array([1, 1]), special_zero=False).output(0)


def _count(source: ov.Output) -> int:
    return int(np.prod(list(source.get_shape())))


def _spans(source: ov.Output, output: ov.Output, axes: _Axes) -> bool:
    """Whether an operand of a pointwise operation has rows and columns of its own."""
    shape, whole = list(source.get_shape()), list(output.get_shape())
    if len(shape) == len(whole):
        sides = [shape[axis] for axis in axes]
        if sides == [whole[axis] for axis in axes]:
            return True
        if sides == [1, 1]:
            return False
    elif _count(source) == 1:
        return False
    raise _NotUnderstoodError


def _constant(source: ov.Output) -> NDArray[np.int64]:
    node = source.get_node()
    if node.get_type_name() != "Constant":
        raise _NotUnderstoodError
    return np.asarray(node.data, np.int64)


def _same_reach(node: ov.Node) -> int:
    """How far a convolution that keeps the size looks to each side."""
    about = node.get_attributes()
    reaches = [
        dilation * (side - 1) / 2
        for dilation, side in zip(about["dilations"], node.input_value(1).get_shape()[-2:], strict=True)
    ]
    pads = [list(about[name]) for name in ("pads_begin", "pads_end")]
    if list(about["strides"]) != [1, 1] or pads != [reaches, reaches] or reaches[0] != reaches[1]:
        raise _NotUnderstoodError
    return int(reaches[0])


def _grown(part: Region, by: int, size: int) -> Region:
    return Region(
        max(0, part.left - by), max(0, part.top - by), min(size, part.right + by), min(size, part.bottom + by)
    )


def _behind(node: ov.Node, box: Region, size: int) -> Region:
    """What a transposed convolution reads to compute `box` of its output; `size`: its input's side."""
    about = node.get_attributes()
    if list(about["dilations"]) != [1, 1] or node.get_input_size() != 2:
        raise _NotUnderstoodError
    edges = []
    for axis, part in enumerate((box.rows, box.columns)):
        step, pad = about["strides"][axis], about["pads_begin"][axis]
        side = node.input_value(1).get_shape()[2 + axis]
        if side < step:
            raise _NotUnderstoodError
        first, last = -((side - 1 - part.start - pad) // step), (part.stop - 1 + pad) // step
        edges.append((max(0, first), min(size, last + 1)))
    (top, bottom), (left, right) = edges
    return Region(left, top, right, bottom)


def _cut_transposed(node: ov.Node, before: Region, after: Region) -> None:
    """Have a transposed convolution, fed with the box `before`, give the box `after`."""
    about = node.get_attributes()
    begins, ends, rests = [], [], []
    for axis, (had, gives) in enumerate(((before.rows, after.rows), (before.columns, after.columns))):
        step, side = about["strides"][axis], node.input_value(1).get_shape()[2 + axis]
        begin = about["pads_begin"][axis] + gives.start - had.start * step
        end = (had.stop - had.start - 1) * step + side - begin - (gives.stop - gives.start)
        begins.append(begin)
        ends.append(max(0, end))
        rests.append(max(0, -end))
    cut = ops.convolution_backprop_data(
        node.input_value(0), node.input_value(1), list(about["strides"]),
        pads_begin=begins, pads_end=ends, dilations=[1, 1], output_padding=rests,
    )  # fmt: skip
    cut.set_friendly_name(node.get_friendly_name())
    _replace(node.output(0), cut)


def _replace(output: ov.Output, by: ov.Node) -> None:
    for target in output.get_target_inputs():
        target.replace_source_output(by.output(0))


def _height(box: Region) -> int:
    return box.bottom - box.top


def _width(box: Region) -> int:
    return box.right - box.left
