"""A mouth of convolutions with random weights: what decoders are made of, in a few layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MouthSheet, write_sheet
from trt_build.half import halve_decoder, halve_encoder

_Shapes = Mapping[str, tuple[int, ...]]

_WIDTHS = (4, 6, 8)  # of the maps with sides S, S / 2 and S / 4


def write_conv_mouth(folder: Path, size: int, *, seed: int = 0, odd: str | None = None) -> Path:
    """Write a mouth for pictures of `size`, a multiple of 8, into `folder`.

    From the smallest map up: a transposed convolution to twice the size, scale and shift by the sound, a
    residual convolution, and the encoder's map beside it; at last the idle picture and tanh. `odd`
    "ReduceMean": a mean over the largest map, so that every pixel depends on all others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder, decoder = _Graph(seed), _Graph(seed + 1)
    maps = _encoder(encoder, size)
    faces = encoder.model({"face": (6, size, size)}, maps)
    halve_encoder(faces)
    onnx.save(faces, str(folder / FACE_ENCODER))
    _decoder(decoder, odd)
    mouths = decoder.model({"mel": (1, 80, 16), **maps}, {"picture": (3, size, size)})
    halve_decoder(mouths)
    onnx.save(mouths, str(folder / MOUTH_DECODER))
    write_sheet(folder, MouthSheet("conv", size, tuple(maps.values()), 3, {}))
    return folder


class _Graph:
    """Nodes and their random weights."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], output: str, **about: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], **about))
        return output

    def weight(self, name: str, *shape: int, scale: float | None = None) -> str:
        scale = scale or float(np.sqrt(2 / np.prod(shape[1:])))
        values = self._random.normal(0, scale, shape).astype(np.float32)
        return self.constant(name, values)

    def constant(self, name: str, values: Any) -> str:
        self._weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def conv(self, source: str, output: str, inputs: int, outputs: int, side: int = 3, step: int = 1) -> str:
        weights = [self.weight(f"{output}_w", outputs, inputs, side, side)]
        weights.append(self.weight(f"{output}_b", outputs, scale=0.1))
        return self.add("Conv", [source, *weights], output, pads=[side // 2] * 4, strides=[step] * 2)

    def up(self, source: str, output: str, inputs: int, outputs: int) -> str:
        weights = [self.weight(f"{output}_w", inputs, outputs, 3, 3)]
        weights.append(self.weight(f"{output}_b", outputs, scale=0.1))
        about = {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}
        return self.add("ConvTranspose", [source, *weights], output, **about)

    def model(self, inputs: _Shapes, outputs: _Shapes) -> onnx.ModelProto:
        graph = helper.make_graph(self._nodes, "conv", _ports(inputs), _ports(outputs), self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        onnx.checker.check_model(model)
        return model


def _ports(shapes: _Shapes) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
        for name, shape in shapes.items()
    ]


def _encoder(graph: _Graph, size: int) -> dict[str, tuple[int, int, int]]:
    graph.constant("from", np.array([3]))
    graph.constant("to", np.array([6]))
    graph.constant("axis", np.array([1]))
    graph.add("Slice", ["face", "from", "to", "axis"], "skip0")
    shapes = {"skip0": (3, size, size)}
    source, inputs = "face", 6
    for number, width in enumerate(_WIDTHS):
        graph.conv(source, f"map{number}", inputs, width, step=2 if number else 1)
        source, inputs = graph.add("Relu", [f"map{number}"], f"skip{number + 1}"), width
        shapes[source] = (width, size >> number, size >> number)
    return shapes


def _decoder(graph: _Graph, odd: str | None) -> None:
    graph.add("ReduceMean", ["mel"], "level", axes=[2, 3], keepdims=1)
    x, channels = "skip3", _WIDTHS[2]
    for number in (1, 0):
        width, name = _WIDTHS[number], f"stage{number}"
        graph.add("Relu", [graph.up(x, f"{name}_up", channels, width)], f"{name}_on")
        scale, shift = (graph.conv("level", f"{name}_{what}", 1, width, 1) for what in ("scale", "shift"))
        graph.add("Mul", [f"{name}_on", scale], f"{name}_scaled")
        film = graph.add("Add", [f"{name}_scaled", shift], f"{name}_film")
        graph.add("Add", [graph.conv(film, f"{name}_conv", width, width), film], f"{name}_sum")
        graph.add("Relu", [f"{name}_sum"], f"{name}_out")
        x = graph.add("Concat", [f"{name}_out", f"skip{number + 1}"], f"{name}_cat", axis=1)
        channels = 2 * width
    graph.conv(x, "painted", channels, 3)
    if odd == "ReduceMean":
        graph.add("ReduceMean", ["painted"], "mean", axes=[2, 3], keepdims=1)
        graph.add("Sub", ["painted", "mean"], "centred")
    graph.add("Add", ["centred" if odd else "painted", "skip0"], "sum")
    graph.add("Tanh", ["sum"], "picture")
