"""A look into ONNX files: what a mouth is made of passes, what reaches out of its file does not."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from engine.anchor.package import shipped_mouth
from engine.errors import AvatarError
from engine.mouth import onnx_file
from engine.mouth.onnx_file import OPERATORS, check_network
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER
from tests.tiny_mouth import write_tiny_mouth

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_mouth(tmp_path_factory.mktemp("tiny"), 64)


def test_shipped_and_tiny_mouths_pass(tiny: Path) -> None:
    for mouth in (shipped_mouth("lite192"), tiny):
        for name in (FACE_ENCODER, MOUTH_DECODER):
            check_network(mouth / name)


def test_they_are_the_operators_of_the_pytorch_runtime() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from engine.mouth import onnx_torch

    assert {*onnx_torch._OPERATORS, "Constant"} == OPERATORS


def external(model: onnx.ModelProto) -> None:
    convert_model_to_external_data(model, location="../weights.bin", size_threshold=0)


def external_in_a_node(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "t")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["t"], value=tensor))


def location_without_flag(model: onnx.ModelProto) -> None:
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [], [helper.make_opsetid("", 17)]))


def operator(name: str, domain: str = "") -> Change:
    return lambda model: model.graph.node.append(helper.make_node(name, ["x"], ["y"], domain=domain))


def branch(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "inner", [], [])
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("then_branch", graph))
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (external, "another file"),
        (external_in_a_node, "another file"),
        (location_without_flag, "another file"),
        (sparse, "sparse"),
        (function, "functions"),
        (operator("If"), "operator 'If'"),
        (operator("Loop"), "operator 'Loop'"),
        (operator("relu"), "operator 'relu'"),
        (operator("Relu", "com.example"), "another maker"),
        (branch, "network within"),
        (lambda model: model.training_info.add(), "functions"),
        (lambda model: model.ClearField("graph"), "no ONNX"),
    ],
)
def test_what_a_mouth_has_not(change: Change, says: str, tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny / FACE_ENCODER)
    change(model)
    path = tmp_path / "face_encoder.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(AvatarError, match=says) as caught:
        check_network(path)
    assert "face_encoder.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"<?xml version='1.0'?><net/>", b"\x80" * 40, b"\x3a\xff\xff\x03", b"no network" * 100]
)
def test_what_is_no_network(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(content)
    with pytest.raises(AvatarError, match=r"n\.onnx"):
        check_network(tmp_path / "n.onnx")


def test_a_second_graph(tiny: Path, tmp_path: Path) -> None:
    """Readers of protobuf would merge them."""
    content = (tiny / FACE_ENCODER).read_bytes()
    (tmp_path / "n.onnx").write_bytes(content + content)
    with pytest.raises(AvatarError, match="no ONNX"):
        check_network(tmp_path / "n.onnx")


def test_missing_or_too_large(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AvatarError, match="No such file"):
        check_network(tmp_path / "n.onnx")
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 100)
    with pytest.raises(AvatarError, match="larger than"):
        check_network(tiny / FACE_ENCODER)


def test_random_damage_raises_nothing_else(tiny: Path, tmp_path: Path) -> None:
    whole = (tiny / FACE_ENCODER).read_bytes()
    rng = random.Random(3)
    path = tmp_path / "n.onnx"
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])
        try:
            check_network(path)
        except AvatarError:
            refused += 1
    assert refused > 100


def test_external_data_is_seen_wherever_onnx_sees_it(tiny: Path, tmp_path: Path) -> None:
    """Against ONNX's own reader: each weight in turn is moved out of the file."""
    count = len(onnx.load(tiny / MOUTH_DECODER).graph.initializer)
    for number in range(count):
        model = onnx.load(tiny / MOUTH_DECODER)
        tensor = model.graph.initializer[number]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        path = tmp_path / "n.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(AvatarError, match="another file"):
            check_network(path)
    assert count > 3
