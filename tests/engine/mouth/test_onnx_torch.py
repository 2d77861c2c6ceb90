"""Every operator that a mouth may use, against ONNX Runtime; whole networks; what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.errors import AvatarError
from engine.mouth.onnx_torch import load_network
from engine.mouth.tensors import Tensor
from trt_build.check import session

Array = NDArray[Any]

BATCHES = (1, 2, 5)

HALF_TOLERANCE = 4e-3
"""Largest difference in fp16, relative to values near 1: four steps. The order of sums differs."""


@dataclass(frozen=True)
class Case:
    """One node: its inputs x, y, ... by shape without the batch, its constants, and where they go."""

    kind: str
    shapes: tuple[tuple[int, ...], ...] = ((4, 7, 6),)
    constants: Mapping[str, Array] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    dtype: DTypeLike = np.float16
    opset: int = 20
    scale: float = 1.0

    @property
    def inputs(self) -> list[Tensor]:
        names = "xyz"[: len(self.shapes)]
        return [Tensor(n, np.dtype(self.dtype), s) for n, s in zip(names, self.shapes, strict=True)]

    def write(self, path: Path) -> Path:
        names = self.order or (*(tensor.name for tensor in self.inputs), *self.constants)
        results = [f"made{number}" for number in range(self.outputs)]
        node = helper.make_node(self.kind, names, results, **self.attributes)
        return save(path, [node], self.inputs, results, self.constants, self.opset)

    def data(self, count: int) -> dict[str, Array]:
        random = np.random.default_rng(count)
        shapes = {tensor.name: (count, *tensor.shape) for tensor in self.inputs}
        if self.dtype == np.uint8:
            return {name: random.integers(0, 256, shape, np.uint8) for name, shape in shapes.items()}
        return {
            name: (random.uniform(-1, 1, shape) * self.scale).astype(self.dtype)
            for name, shape in shapes.items()
        }


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[Tensor],
    outputs: list[str],
    constants: Mapping[str, Array],
    opset: int = 20,
) -> Path:
    """Writes a network whose batch is free; what its outputs are is left open."""
    kind_of = helper.np_dtype_to_tensor_dtype
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info(t.name, kind_of(t.dtype), ["n", *t.shape]) for t in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, str(path))
    return path


def reference(path: Path, data: dict[str, Array]) -> list[Array]:
    made: list[Array] = session(path).run(None, data)
    return made


def weights(*shape: int, seed: int = 0, scale: float = 0.3) -> Array:
    return (np.random.default_rng(seed).normal(0, scale, shape)).astype(np.float16)


def numbers(*values: int) -> Array:
    return np.array(values, np.int64)


def half(value: float) -> Array:
    return np.array(value, np.float16)


PICTURES = ((6, 9, 8),)
KERNEL = {"w": weights(4, 6, 3, 3)}
BIASED = {"w": weights(4, 6, 3, 3), "b": weights(4, seed=1)}
UP = {"w": weights(6, 4, 3, 3), "b": weights(4, seed=1)}
DOUBLING = {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}

CASES = {
    "add": Case("Add", ((4, 7, 6), (4, 7, 6))),
    "add broadcasts": Case("Add", ((4, 7, 6), (4, 1, 1))),
    "add a scalar": Case("Add", constants={"c": half(1.5)}),
    "subtract": Case("Sub", ((4, 7, 6), (4, 7, 6))),
    "subtract from a constant": Case("Sub", constants={"c": half(1)}, order=("c", "x")),
    "multiply": Case("Mul", ((4, 7, 6),), {"c": weights(1, 1, 7, 6)}),
    "divide": Case("Div", constants={"c": half(0.98)}),
    "divide in fp32": Case("Div", constants={"c": np.array(3, np.float32)}, dtype=np.float32),
    "relu": Case("Relu"),
    "sigmoid": Case("Sigmoid", scale=6),
    "tanh": Case("Tanh", scale=3),
    "atanh": Case("Atanh", scale=0.98, dtype=np.float32),
    "round": Case("Round", scale=8, dtype=np.float32),
    "clip": Case("Clip", constants={"low": half(-0.25), "high": half(0.5)}),
    "clip above alone": Case("Clip", constants={"high": half(0.5)}, order=("x", "", "high")),
    "cast to half": Case("Cast", attributes={"to": TensorProto.FLOAT16}, dtype=np.float32),
    "cast to float": Case("Cast", attributes={"to": TensorProto.FLOAT}),
    "cast bytes": Case("Cast", attributes={"to": TensorProto.FLOAT}, dtype=np.uint8),
    "transpose": Case("Transpose", attributes={"perm": [0, 3, 1, 2]}),
    "concat": Case("Concat", ((4, 7, 6), (2, 7, 6), (1, 7, 6)), attributes={"axis": 1}),
    "concat from the end": Case("Concat", ((4, 7, 6), (4, 7, 2)), attributes={"axis": -1}),
    "unsqueeze": Case("Unsqueeze", ((5,),), {"axes": numbers(2, 3)}),
    "unsqueeze unordered": Case("Unsqueeze", ((5,),), {"axes": numbers(3, 1)}),
    "reshape": Case("Reshape", constants={"to": numbers(-1, 168)}),
    "reshape copies": Case("Reshape", constants={"to": numbers(0, 0, -1)}),
    "reshape without copies": Case(
        "Reshape", constants={"to": numbers(-1, 4, 42)}, attributes={"allowzero": 1}
    ),
    "slice": Case("Slice", constants={"a": numbers(3), "b": numbers(2**63 - 1), "c": numbers(2)}),
    "slice from the end": Case("Slice", constants={"a": numbers(-3), "b": numbers(-1), "c": numbers(-1)}),
    "slice twice": Case(
        "Slice", constants={"a": numbers(0, 1), "b": numbers(4, 6), "c": numbers(1, 3), "d": numbers(2, 3)}
    ),
    "split evenly": Case("Split", attributes={"axis": 1, "num_outputs": 2}, outputs=2),
    "split unevenly": Case("Split", attributes={"axis": 2, "num_outputs": 3}, outputs=3),
    "split by sizes": Case("Split", ((6, 3),), {"s": numbers(1, 5)}, attributes={"axis": 1}, outputs=2),
    "split without a count": Case("Split", attributes={"axis": 1}, outputs=2, opset=17),
    "mean of old": Case("ReduceMean", attributes={"axes": [1, 2, 3], "keepdims": 1}, opset=17),
    "mean": Case("ReduceMean", constants={"axes": numbers(1, -1)}, attributes={"keepdims": 0}),
    "mean of nothing": Case("ReduceMean", attributes={"noop_with_empty_axes": 1}),
    "pool": Case("GlobalAveragePool"),
    "gemm": Case("Gemm", ((12,),), {"w": weights(5, 12), "b": weights(5)}, attributes={"transB": 1}),
    "gemm scaled": Case(
        "Gemm", ((12,),), {"w": weights(12, 5), "b": weights(5)}, attributes={"alpha": 0.5, "beta": 2.0}
    ),
    "gemm without a bias": Case("Gemm", ((12,),), {"w": weights(12, 5)}, attributes={"alpha": 0.5}),
    "conv": Case("Conv", PICTURES, BIASED, attributes={"pads": [1, 1, 1, 1]}),
    "conv without a bias": Case("Conv", PICTURES, KERNEL, attributes={"kernel_shape": [3, 3]}),
    "conv in strides": Case("Conv", PICTURES, BIASED, attributes={"strides": [3, 2], "pads": [1, 1, 1, 1]}),
    "conv spread": Case("Conv", PICTURES, BIASED, attributes={"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "conv in groups": Case("Conv", PICTURES, {"w": weights(4, 3, 3, 3)}, attributes={"group": 2}),
    "conv padded on one side": Case("Conv", PICTURES, BIASED, attributes={"pads": [0, 1, 2, 3]}),
    "conv same upper": Case(
        "Conv", PICTURES, BIASED, attributes={"auto_pad": "SAME_UPPER", "strides": [2, 2]}
    ),
    "conv same lower": Case(
        "Conv", PICTURES, {"w": weights(4, 6, 2, 4)}, attributes={"auto_pad": "SAME_LOWER", "strides": [1, 3]}
    ),
    "conv valid": Case("Conv", PICTURES, BIASED, attributes={"auto_pad": "VALID"}),
    "upward": Case("ConvTranspose", PICTURES, UP, attributes=DOUBLING),
    "upward plain": Case("ConvTranspose", PICTURES, {"w": UP["w"]}),
    "upward in groups": Case(
        "ConvTranspose", PICTURES, {"w": weights(6, 2, 3, 3)}, attributes={"group": 2, "strides": [2, 1]}
    ),
    "upward spread": Case("ConvTranspose", PICTURES, UP, attributes={"dilations": [2, 1]}),
}


def made_by(path: Path, data: dict[str, Array]) -> list[Tensor]:
    """The outputs of a network as ONNX Runtime makes them."""
    made = reference(path, data)
    return [Tensor(f"made{k}", array.dtype, array.shape[1:]) for k, array in enumerate(made)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_operator_computes_what_onnx_says(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path / "case.onnx")
    module = load_network(path, case.inputs, made_by(path, case.data(2)))
    for count in BATCHES:
        data = case.data(count)
        made = module(*(torch.from_numpy(data[tensor.name]) for tensor in case.inputs))
        for ours, theirs in zip(made, reference(path, data), strict=True):
            assert (ours.numpy().dtype, tuple(ours.shape)) == (theirs.dtype, theirs.shape)
            tolerance = HALF_TOLERANCE if theirs.dtype == np.float16 else 1e-6
            np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance)


def test_halves_are_rounded_to_even_and_bytes_keep_their_level(tmp_path: Path) -> None:
    x = [Tensor("x", np.dtype(np.float32), (6,))]
    nodes = [
        helper.make_node("Clip", ["x", "low", "high"], ["clipped"]),
        helper.make_node("Round", ["clipped"], ["level"]),
        helper.make_node("Cast", ["level"], ["made0"], to=TensorProto.UINT8),
    ]
    limits = {"low": np.array(0, np.float32), "high": np.array(255, np.float32)}
    path = save(tmp_path / "levels.onnx", nodes, x, ["made0"], limits)
    module = load_network(path, x, [Tensor("made0", np.dtype(np.uint8), (6,))])
    given = np.array([[0.5, 1.5, 2.5, -3, 254.51, 300]], np.float32)
    assert module(torch.from_numpy(given))[0].tolist() == [[0, 2, 2, 0, 255, 255]]
    assert reference(path, {"x": given})[0].tolist() == [[0, 2, 2, 0, 255, 255]]


def test_a_constant_may_stand_among_the_nodes(tmp_path: Path) -> None:
    x = [Tensor("x", np.dtype(np.float32), (3,))]
    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array(2, np.float32))),
        helper.make_node("Mul", ["x", "two"], ["made0"]),
    ]
    path = save(tmp_path / "constant.onnx", nodes, x, ["made0"], {})
    module = load_network(path, x, [Tensor("made0", np.dtype(np.float32), (3,))])
    assert module(torch.ones(2, 3))[0].tolist() == [[2, 2, 2], [2, 2, 2]]


def small_network(path: Path) -> tuple[Path, list[Tensor], list[Tensor]]:
    """Two inputs that join, a split, and an output that is not the last node's."""
    inputs = [Tensor("x", np.dtype(np.float16), (6, 8, 8)), Tensor("y", np.dtype(np.float16), (6, 8, 8))]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["made0"]),
        helper.make_node("Split", ["y"], ["first", "second"], axis=1, num_outputs=2),
        helper.make_node("Concat", ["made0", "second"], ["c"], axis=1),
        helper.make_node("Mul", ["c", "half"], ["made1"]),
    ]
    save(path, nodes, inputs, ["made0", "made1"], {**BIASED, "half": half(0.5)})
    kinds = [("made0", (4, 8, 8)), ("made1", (7, 8, 8))]
    return path, inputs, [Tensor(name, np.dtype(np.float16), shape) for name, shape in kinds]


def test_inputs_and_outputs_are_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    path, inputs, outputs = small_network(tmp_path / "small.onnx")
    x, y = torch.rand(2, 6, 8, 8).half(), torch.rand(2, 6, 8, 8).half()
    straight = load_network(path, inputs, outputs)(x, y)
    turned = load_network(path, inputs[::-1], outputs[::-1])(y, x)
    assert [tensor.shape[1] for tensor in straight] == [4, 7]
    assert all(torch.equal(a, b) for a, b in zip(straight, reversed(turned), strict=True))


def test_weights_are_buffers_in_the_types_of_the_file(tmp_path: Path) -> None:
    module = load_network(*small_network(tmp_path / "small.onnx"))
    held = dict(module.named_buffers())
    assert list(module.parameters()) == []
    assert {buffer.dtype for buffer in held.values()} == {torch.float16}
    (kernel,) = (buffer for buffer in held.values() if buffer.dim() == 4)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(kernel.numpy(), BIASED["w"])


def test_the_whole_network_is_one_piece_for_the_compiler(tmp_path: Path) -> None:
    module = load_network(*small_network(tmp_path / "small.onnx"))
    # fullgraph fails at the first decision that depends on a value, which a CUDA graph could not follow.
    compiled = torch.compile(module, backend="eager", dynamic=False, fullgraph=True)
    x, y = torch.rand(3, 6, 8, 8).half(), torch.rand(3, 6, 8, 8).half()
    with torch.no_grad():
        made = compiled(x, y)
    assert all(torch.equal(a, b) for a, b in zip(made, module(x, y), strict=True))


def refusal(case: Case, path: Path, outputs: list[Tensor] | None = None) -> str:
    """The sentence with which the network of one node is refused."""
    case.write(path)
    with pytest.raises(AvatarError) as caught:
        load_network(path, case.inputs, outputs or [Tensor("made0", np.dtype(np.float16), (4, 7, 6))])
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path.parent) in sentence
    assert path.name in sentence
    assert sentence.endswith("; export it again.")
    return sentence


UNUSABLE = {
    "know the operator Erf": Case("Erf", dtype=np.float32),
    "operator set 16 is older": Case("Relu", opset=16),
    "[1, 16]": Case("Reshape", ((8,),), {"to": numbers(1, 16)}),
    "[0, 4, 42]": Case("Reshape", constants={"to": numbers(0, 4, 42)}, attributes={"allowzero": 1}),
    "runs backwards": Case(
        "Slice", constants={"a": numbers(5), "b": numbers(0), "c": numbers(3), "d": numbers(-1)}
    ),
    "counts from the end": Case("Unsqueeze", constants={"axes": numbers(-1)}),
    "padding of its ConvTranspose": Case("ConvTranspose", PICTURES, UP, attributes={"pads": [0, 0, 1, 1]}),
    "ConvTranspose of pictures only": Case("ConvTranspose", ((6, 9),), {"w": weights(6, 4, 3)}),
    "Conv of pictures only": Case("Conv", ((6, 9),), {"w": weights(4, 6, 3)}),
    "casts to a type": Case("Cast", attributes={"to": TensorProto.DOUBLE}),
    "constant of a type": Case("Add", constants={"c": np.array(1.0)}),
    "no constant": Case("Conv", ((6, 9, 8), (6, 3, 3)), order=("x", "y")),
}


@pytest.mark.parametrize(("words", "case"), UNUSABLE.items(), ids=UNUSABLE.keys())
def test_what_is_not_known_is_refused_in_one_sentence(words: str, case: Case, tmp_path: Path) -> None:
    assert words in refusal(case, tmp_path / "case.onnx")


def test_operators_of_other_domains_are_refused(tmp_path: Path) -> None:
    path, inputs, outputs = small_network(tmp_path / "small.onnx")
    model = onnx.load(str(path))
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, str(path))
    with pytest.raises(AvatarError, match="know the operator Relu"):
        load_network(path, inputs, outputs)


@pytest.mark.parametrize(
    ("shape", "dtype", "found"),
    [((4, 7, 5), np.float16, r"float16 \(n, 4, 7, 6\)"), ((4, 7, 6), np.uint8, r"not uint8 \(n, 4, 7, 6\)")],
)
def test_another_output_than_promised_is_refused(
    shape: tuple[int, ...], dtype: DTypeLike, found: str, tmp_path: Path
) -> None:
    Case("Relu").write(tmp_path / "case.onnx")
    with pytest.raises(AvatarError, match=found):
        load_network(tmp_path / "case.onnx", Case("Relu").inputs, [Tensor("made0", np.dtype(dtype), shape)])


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("face", np.float16, (4, 7, 6)),
        ("x", np.float32, (4, 7, 6)),
        ("x", np.float16, (4, 7, 9)),
        ("x", np.float16, (4, 7)),
    ],
)
def test_another_input_than_promised_is_refused(
    name: str, dtype: DTypeLike, shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = Case("Relu").write(tmp_path / "case.onnx")
    promised = [Tensor(name, np.dtype(dtype), shape)]
    with pytest.raises(AvatarError, match="it takes x" if name == "face" else "x is not"):
        load_network(path, promised, [Tensor("made0", np.dtype(np.float16), (4, 7, 6))])


def test_a_batch_that_is_not_free_is_refused(tmp_path: Path) -> None:
    mixed = Case("ReduceMean", constants={"axes": numbers(0)})
    sentence = refusal(mixed, tmp_path / "case.onnx")
    assert "made0 is float16 (1, 4, 7, 6), not float16 (n, 4, 7, 6)" in sentence
    path, inputs, outputs = small_network(tmp_path / "small.onnx")
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(path))
    with pytest.raises(AvatarError, match=r"x is not float16 \(n, 6, 8, 8\)"):
        load_network(path, inputs, outputs)


def test_an_output_that_nothing_makes_is_refused(tmp_path: Path) -> None:
    path, inputs, _ = small_network(tmp_path / "small.onnx")
    with pytest.raises(AvatarError, match="nothing makes 'skip0'"):
        load_network(path, inputs, [Tensor("skip0", np.dtype(np.float16), (4, 8, 8))])


def test_weights_in_another_file_are_not_read(tmp_path: Path) -> None:
    path, inputs, outputs = small_network(tmp_path / "small.onnx")
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(AvatarError, match="another file"):
        load_network(path, inputs, outputs)


@pytest.mark.parametrize("content", [b"", b"no network", None])
def test_a_file_that_is_no_network_is_told(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AvatarError, match=r"damaged \(small.onnx: .*\); export it again"):
        load_network(path, [Tensor("x", np.dtype(np.float16), (4,))], [])


def test_a_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path, inputs, outputs = small_network(tmp_path / "small.onnx")
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(AvatarError, match="damaged") as caught:
            load_network(path, inputs, outputs)
        assert "\n" not in str(caught.value)


def test_weights_that_are_cut_off_or_do_not_fit_are_told(tmp_path: Path) -> None:
    path, inputs, outputs = small_network(tmp_path / "small.onnx")
    cut = numpy_helper.from_array(BIASED["w"], "w")
    cut.raw_data = cut.raw_data[:10]
    for change in (cut, numpy_helper.from_array(weights(4, 5, 3, 3), "w")):
        model = onnx.load(str(path))
        model.graph.initializer[0].CopyFrom(change)
        onnx.save(model, str(tmp_path / "changed.onnx"))
        with pytest.raises(AvatarError, match="damaged"):
            load_network(tmp_path / "changed.onnx", inputs, outputs)
