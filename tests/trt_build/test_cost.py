from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.errors import AvatarError
from tests.tiny_mouth import write_tiny_mouth
from trt_build.cost import CARDS, Cost, half_cost, mouth_cost, roofline

Weights = dict[str, NDArray[np.generic]]


def write_graph(
    path: Path, nodes: list[onnx.NodeProto], given: list[int], taken: list[int | None], weights: Weights
) -> Path:
    """A model `x` (n, *given) -> `y` (n, *taken) in float16."""
    half = TensorProto.FLOAT16
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info("x", half, ["batch", *given])],
        [helper.make_tensor_value_info("y", half, ["batch", *taken])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def ones(*shape: int) -> NDArray[np.float16]:
    return np.ones(shape, np.float16)


def test_a_convolution_by_hand(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])
    path = write_graph(
        tmp_path / "conv.onnx", [node], [3, 8, 8], [5, 4, 4], {"w": ones(5, 3, 3, 3), "b": ones(5)}
    )
    # 5 x 4 x 4 values, each a sum over 3 channels of 3 x 3; two bytes a number.
    edges = 2 * (3 * 8 * 8 + 5 * 4 * 4)
    counted = half_cost(path)
    assert counted.cost == Cost(80 * 27, 2 * (5 * 27 + 5), edges, edges)
    assert counted.output_bytes == 2 * 80


def test_groups_divide_the_work(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1, 1, 1, 1])
    path = write_graph(tmp_path / "groups.onnx", [node], [8, 6, 6], [8, 6, 6], {"w": ones(8, 2, 3, 3)})
    assert half_cost(path).cost.macs == 8 * 36 * 2 * 9


def test_a_transposed_convolution_by_hand(tmp_path: Path) -> None:
    node = helper.make_node(
        "ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    )
    path = write_graph(tmp_path / "up.onnx", [node], [4, 5, 5], [6, 10, 10], {"w": ones(4, 6, 3, 3)})
    # Each of 4 x 5 x 5 values is spread over 6 channels of 3 x 3; the larger output does not multiply it.
    assert half_cost(path).cost.macs == 100 * 54


def test_products_of_matrices_by_hand(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["inner"], transB=1),
        helper.make_node("Relu", ["inner"], ["bent"]),
        helper.make_node("MatMul", ["bent", "v"], ["y"]),
    ]
    weights: Weights = {"w": ones(7, 12), "b": ones(7), "v": ones(7, 2)}
    cost = half_cost(write_graph(tmp_path / "gemm.onnx", nodes, [12], [2], weights)).cost
    assert cost.macs == 12 * 7 + 7 * 2
    assert cost.weight_bytes == 2 * (84 + 7 + 14)
    assert cost.edge_bytes == 2 * (12 + 2)
    # 12 in, 7 out; 7 in, 2 out: the pointwise step between them is fused.
    assert cost.layer_bytes == 2 * (12 + 7 + 7 + 2)


def test_a_transposed_left_side_sums_over_its_rows(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["column"]),
        helper.make_node("Gemm", ["column", "w"], ["y"], transA=1),
    ]
    weights: Weights = {"shape": np.array([12, 1]), "w": ones(12, 4)}
    assert half_cost(write_graph(tmp_path / "left.onnx", nodes, [12], [4], weights)).cost.macs == 12 * 4


def test_the_batch_is_one_whatever_the_file_says(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = write_graph(tmp_path / "m.onnx", [node], [3], [3], {"w": ones(3, 3)})
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 9
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 9
    onnx.save(model, str(path))
    assert half_cost(path).cost.macs == 9


def test_both_halves_of_a_mouth(tmp_path: Path) -> None:
    folder = write_tiny_mouth(tmp_path, 16)
    cost = mouth_cost(folder)
    encoder = half_cost(folder / "face_encoder.onnx")
    assert cost.encoder == encoder.cost
    assert cost.decoder == half_cost(folder / "mouth_decoder.onnx").cost
    assert cost.map_bytes == encoder.output_bytes
    # The maps go in, a mel window of float32 too, a picture of bytes comes out.
    assert cost.decoder.edge_bytes == cost.map_bytes + 4 * 80 * 16 + 3 * 16 * 16


def test_the_shipped_mouth_costs_what_its_card_says() -> None:
    cost = mouth_cost(Path(__file__).parents[2] / "avatars" / "mouths" / "lite192")
    assert cost.encoder.macs == 510_361_600
    assert cost.decoder.macs == 756_955_776
    maps = 2 * (15 * 192**2 + 32 * 96**2 + 64 * 48**2 + 96 * 24**2 + 128 * 12**2 + 160 * (36 + 9 + 1))
    assert cost.map_bytes == maps


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", None])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "face_encoder.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AvatarError, match=r"face_encoder\.onnx cannot be counted"):
        half_cost(path)


def test_the_roofline_of_a_known_card_by_hand() -> None:
    # On an L4 (121 TFLOP/s, 300 GB/s): 1.21e9 macs are 20 us of work; 3 MB of weights 10 us of memory.
    half = Cost(macs=1_210_000_000, weight_bytes=3_000_000, edge_bytes=300_000, layer_bytes=9_000_000)
    one, four = roofline(half, "NVIDIA L4", (1, 4)) or []
    assert one.floor == pytest.approx(0.020)
    assert one.layered == pytest.approx(0.040)
    assert four.floor == pytest.approx(0.080)
    assert four.layered == pytest.approx(0.130)
    assert four.streams == 2000


def test_memory_limits_what_computes_little() -> None:
    half = Cost(macs=1000, weight_bytes=3_000_000, edge_bytes=300_000, layer_bytes=300_000)
    (line,) = roofline(half, "NVIDIA L4", (10,)) or []
    assert line.floor == line.layered == pytest.approx(0.020)


def test_an_unknown_card_has_no_roofline() -> None:
    half = Cost(1, 1, 1, 1)
    assert roofline(half, "NVIDIA GeForce RTX 4090 Laptop GPU", (1,)) is None
    assert roofline(half, "NVIDIA GeForce RTX 4090", (1,)) is not None


def test_the_table_holds_plausible_cards() -> None:
    assert CARDS["NVIDIA H200"].operations == 989.5e12
    assert CARDS["NVIDIA H200"].bandwidth == 4.8e12
    for card in CARDS.values():
        assert 1e14 < card.operations < 1e15
        assert 3e11 <= card.bandwidth < 5e12
