"""The table of what TensorRT's parser takes, on graphs of a few nodes."""

from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from trt_build.operators import OPERATORS, OPSETS, refusals


def model(*nodes: onnx.NodeProto, opset: int = 20, constants: tuple[str, ...] = ()) -> onnx.ModelProto:
    """The nodes as a network from `in` to `out`; both are bytes where `TYPES` says so."""
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", 4]) for name in ("in", "out")]
    values = [helper.make_tensor(name, TensorProto.INT64, [1], [1]) for name in constants]
    graph = helper.make_graph(list(nodes), "graph", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def node(operator: str, *inputs: str, out: str = "b", **options: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [out], name="it", **options)


HALF = {"a": "FLOAT16", "b": "FLOAT16", "axes": "INT64", "yes": "BOOL"}


def test_a_network_of_bytes_with_casts_at_both_ends() -> None:
    nodes = (
        node("Cast", "in", out="a", to=TensorProto.FLOAT16),
        node("Relu", "a"),
        node("Cast", "b", out="out", to=TensorProto.UINT8),
    )
    assert refusals(model(*nodes), HALF | {"in": "UINT8", "out": "UINT8"}) == []


@pytest.mark.parametrize(
    "operator", ["NonExistent", "Unique", "SequenceAt", "MaxUnpool", "Loop", "QLinearConv"]
)
def test_an_operator_that_is_not_supported(operator: str) -> None:
    assert refusals(model(node(operator, "a")), HALF) == [f"{operator} 'it': this operator is not supported"]


def test_a_node_without_a_name_is_told_by_what_it_makes() -> None:
    nameless = helper.make_node("Unique", ["a"], ["b"])
    assert refusals(model(nameless), HALF) == ["Unique 'b': this operator is not supported"]


def test_an_operator_of_another_domain() -> None:
    (reason,) = refusals(model(node("Relu", "a", domain="com.microsoft")), HALF)
    assert "domain com.microsoft are not supported" in reason


@pytest.mark.parametrize(
    ("operator", "kind", "taken"),
    [
        ("Conv", "FLOAT16", True),
        ("Conv", "DOUBLE", False),
        ("Conv", "INT32", False),
        ("Relu", "INT32", True),
        ("Sigmoid", "BFLOAT16", True),
        ("Sigmoid", "INT64", False),
        ("Transpose", "BOOL", True),
        ("Transpose", "UINT8", False),
        ("Not", "BOOL", True),
        ("Not", "FLOAT", False),
        ("Concat", "INT8", False),
        ("Add", "BOOL", False),
    ],
)
def test_types(operator: str, kind: str, taken: bool) -> None:
    reasons = refusals(model(node(operator, "a")), HALF | {"a": kind})
    assert (reasons == []) == taken
    if not taken:
        assert f"{operator} 'it': {kind} is not supported here" in reasons[0]


def test_the_condition_of_where_says_nothing_of_its_type() -> None:
    assert refusals(model(node("Where", "yes", "a", "a")), HALF) == []
    assert refusals(model(node("Where", "yes", "a", "a")), HALF | {"b": "DOUBLE"}) != []


def test_a_tensor_without_a_type_is_refused() -> None:
    assert "UNDEFINED is not supported" in refusals(model(node("Relu", "nowhere")), HALF)[0]


@pytest.mark.parametrize("opset", [OPSETS[0], 20, OPSETS[-1]])
def test_opsets(opset: int) -> None:
    assert refusals(model(node("Relu", "a"), opset=opset), HALF) == []


@pytest.mark.parametrize("opset", [8, 25])
def test_opsets_out_of_range(opset: int) -> None:
    assert refusals(model(node("Relu", "a"), opset=opset), HALF) == [f"opset {opset} is outside 9 to 24"]


def test_axes_of_a_reduction_must_be_constant() -> None:
    reduction = node("ReduceMean", "a", "axes")
    assert refusals(model(reduction), HALF) == ["ReduceMean 'it': its axes must be constant"]
    assert refusals(model(reduction, constants=("axes",)), HALF) == []
    assert refusals(model(node("Constant", out="axes"), reduction), HALF) == []
    assert refusals(model(node("ReduceMean", "a")), HALF) == []


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_resize(mode: str) -> None:
    assert refusals(model(node("Resize", "a", mode=mode)), HALF) == []


def test_resizes_that_are_not_supported() -> None:
    assert "the mode cubic is not supported" in refusals(model(node("Resize", "a", mode="cubic")), HALF)[0]
    (reason,) = refusals(model(node("Resize", "a", mode="linear", antialias=1)), HALF)
    assert reason.endswith("antialiasing is not supported")


def test_bytes_only_next_to_a_cast() -> None:
    turned = model(node("Transpose", "in", out="a"))
    reasons = refusals(turned, HALF | {"in": "UINT8", "a": "UINT8"})
    assert any("UINT8 'in' may only be an input or output of the network" in reason for reason in reasons)
    assert any("UINT8 'a' may only be" in reason for reason in reasons)


def test_bytes_between_two_casts_are_refused() -> None:
    nodes = (
        node("Cast", "a", out="middle", to=TensorProto.UINT8),
        node("Cast", "middle", to=TensorProto.FLOAT16),
    )
    reasons = refusals(model(*nodes), HALF | {"middle": "UINT8"})
    assert len(reasons) == 2
    assert all("'middle' may only be" in reason for reason in reasons)


def test_every_reason_is_told() -> None:
    assert len(refusals(model(node("Unique", "a"), node("Loop", "a"), opset=3), HALF)) == 3


def test_the_table_names_only_operators_of_onnx() -> None:
    assert {name for name in OPERATORS if not onnx.defs.has(name)} == set()
    assert len(OPERATORS) > 100
