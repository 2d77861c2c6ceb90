"""The plan of a build: what is told, and what is found wrong, without TensorRT and a GPU."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.errors import AvatarError, MissingToolError
from engine.mouth.engines import EngineStore, profile_text
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, file_hash
from engine.mouth.tensors import DECODER, ENCODER
from tests.fake_builder import FakeBuilding
from tests.fake_cuda import A10
from tests.fake_gpu import FakeDevice
from tests.tiny_mouth import write_tiny_mouth
from trt_build.build import build
from trt_build.plan import UNKNOWN, check, plan, refuse


@pytest.fixture
def mouth(tmp_path: Path) -> Path:
    return write_tiny_mouth(tmp_path / "tiny", 32)


def change(path: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)


def test_what_goes_in_and_out(mouth: Path) -> None:
    encoder, decoder = plan(mouth)
    assert [str(port) for port in encoder.inputs] == ["face uint8 (n x 32 x 32 x 3)"]
    assert [str(port) for port in encoder.outputs] == [
        "skip0 float16 (n x 3 x 32 x 32)",
        "skip1 float16 (n x 3 x 1 x 1)",
    ]
    assert str(decoder.inputs[0]) == "mel float (n x 80 x 16)"
    assert decoder.inputs[1:] == encoder.outputs
    assert [str(port) for port in decoder.outputs] == ["picture uint8 (n x 32 x 32 x 3)"]


def test_figures_of_the_graph(mouth: Path) -> None:
    for part in plan(mouth):
        graph = onnx.load(mouth / f"{part.part}.onnx").graph
        assert sum(part.operators.values()) == len(graph.node)
        assert part.operators["Cast"] == sum(node.op_type == "Cast" for node in graph.node)
        arrays = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
        assert part.weights == sum(array.size for array in arrays)
        assert part.weight_bytes == sum(array.nbytes for array in arrays)
        assert part.opset == 17
        assert part.problems == ()


def test_the_key_without_a_gpu(mouth: Path) -> None:
    encoder, decoder = plan(mouth)
    assert (encoder.key.part, decoder.key.part) == (ENCODER, DECODER)
    assert decoder.key.model == file_hash(mouth / MOUTH_DECODER)
    assert decoder.key.profile == profile_text()
    key = decoder.key
    assert {key.gpu, key.capability, key.driver, key.tensorrt, decoder.state} == {UNKNOWN}


def test_the_key_and_the_engine_with_a_gpu(mouth: Path, tmp_path: Path) -> None:
    store = EngineStore(tmp_path / "engines")
    trt = FakeBuilding()
    version = trt.__version__
    before = plan(mouth, gpu=A10, tensorrt=version, store=store)
    assert [part.state.split(" in ")[0] for part in before] == [
        "There is no engine of the face encoder",
        "There is no engine of the mouth decoder",
    ]
    build(mouth, A10, store=store, trt=trt, device=FakeDevice(trt.cuda))
    after = plan(mouth, gpu=A10, tensorrt=version, store=store)
    assert [part.state for part in after] == [f"kept in {store.path(part.key)}" for part in after]
    other = plan(mouth, gpu=replace(A10, driver="1"), tensorrt=version, store=store)
    assert "with driver 580.65.06, this is driver 1" in other[0].state


def test_half_known_is_unknown(mouth: Path) -> None:
    part = plan(mouth, gpu=A10)[0]
    assert (part.key.gpu, part.key.tensorrt, part.state) == (A10.name, UNKNOWN, UNKNOWN)


def test_a_good_mouth_is_checked(mouth: Path) -> None:
    for part in (ENCODER, DECODER):
        check(mouth, part)


def test_a_transpose_of_bytes(mouth: Path) -> None:
    square = [helper.make_tensor_value_info("face", TensorProto.UINT8, ["n", 32, 32, 3])]
    maps = [
        helper.make_tensor_value_info("skip0", TensorProto.FLOAT16, ["n", 3, 32, 32]),
        helper.make_tensor_value_info("skip1", TensorProto.FLOAT16, ["n", 3, 1, 1]),
    ]
    nodes = [
        helper.make_node("Transpose", ["face"], ["turned"], name="turn", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["turned"], ["skip0"], to=TensorProto.FLOAT16),
        helper.make_node("GlobalAveragePool", ["skip0"], ["skip1"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "turned", square, maps),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.save(model, mouth / FACE_ENCODER)
    problems = plan(mouth)[0].problems
    assert "Transpose 'turn': UINT8 is not supported here" in problems[0]
    with pytest.raises(AvatarError, match=r"face_encoder\.onnx cannot become an engine: Transpose 'turn'"):
        check(mouth, ENCODER)
    check(mouth, DECODER)


def test_another_size_than_the_sheet_says(mouth: Path) -> None:
    sheet = json.loads((mouth / MOUTH_SHEET).read_text())
    (mouth / MOUTH_SHEET).write_text(json.dumps({**sheet, "size": 48}))
    encoder, decoder = plan(mouth)
    assert encoder.problems == ("face uint8 (n x 32 x 32 x 3) should be face uint8 (n x 48 x 48 x 3)",)
    assert decoder.problems == ("picture uint8 (n x 32 x 32 x 3) should be picture uint8 (n x 48 x 48 x 3)",)


def test_other_maps_than_the_sheet_says(mouth: Path) -> None:
    sheet = json.loads((mouth / MOUTH_SHEET).read_text())
    (mouth / MOUTH_SHEET).write_text(json.dumps({**sheet, "maps": sheet["maps"][:1]}))
    encoder, decoder = plan(mouth)
    assert encoder.problems == ("its outputs are skip0, skip1 instead of skip0",)
    assert decoder.problems == ("its inputs are mel, skip0, skip1 instead of mel, skip0",)


def test_a_fixed_batch(mouth: Path) -> None:
    def fix(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    change(mouth / FACE_ENCODER, fix)
    assert plan(mouth)[0].problems[0] == (
        "face uint8 (1 x 32 x 32 x 3) should be face uint8 (n x 32 x 32 x 3)"
    )


def test_an_opset_that_is_too_old(mouth: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("face", "skip0")]
    graph = helper.make_graph([helper.make_node("Relu", ["face"], ["skip0"])], "old", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=4)
    onnx.save(model, mouth / FACE_ENCODER)
    part = plan(mouth)[0]
    assert part.opset == 7
    assert "opset 7 is outside 9 to 24" in part.problems


@pytest.mark.parametrize("length", [0, 100, -50])
def test_a_damaged_file(mouth: Path, length: int) -> None:
    path = mouth / FACE_ENCODER
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(AvatarError, match=r"face_encoder\.onnx is missing or damaged"):
        plan(mouth)


def test_types_that_do_not_fit_together(mouth: Path) -> None:
    def mix(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float64), "wide"))
        last = model.graph.node[-1]
        last_output = last.output[0]
        last.output[0] = "narrow"
        model.graph.node.append(helper.make_node("Add", ["narrow", "wide"], [last_output]))

    change(mouth / FACE_ENCODER, mix)
    with pytest.raises(AvatarError, match="damaged"):
        plan(mouth)


def test_a_missing_file(mouth: Path) -> None:
    (mouth / MOUTH_DECODER).unlink()
    with pytest.raises(AvatarError, match=r"lacks mouth_decoder\.onnx"):
        plan(mouth)
    with pytest.raises(AvatarError, match="missing"):
        check(mouth, DECODER)


def test_without_the_onnx_package(mouth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingToolError, match="pip install onnx"):
        plan(mouth)


def test_the_first_three_problems_are_told(tmp_path: Path) -> None:
    refuse(tmp_path, ENCODER, ())
    with pytest.raises(AvatarError, match=r": a; b; c; export"):
        refuse(tmp_path, ENCODER, ("a", "b", "c"))
    with pytest.raises(AvatarError, match=r": a; b; c \(and 2 more\); export the mouth again\.$"):
        refuse(tmp_path, ENCODER, ("a", "b", "c", "d", "e"))
