import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.anchor.crop import input_mask
from engine.mouth.features import face_input, to_pictures
from tests.tiny_mouth import float_networks
from trt_build.half import halve_decoder, halve_encoder, is_float

SIZE = 48
HALF_TYPES = {TensorProto.FLOAT16, TensorProto.INT64}


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(outputs, inputs))


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


@pytest.fixture
def networks() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    encoder, decoder = float_networks(SIZE)
    halve_encoder(encoder)
    halve_decoder(decoder)
    return encoder, decoder


def test_only_what_pytorch_wrote_is_float(networks: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    assert [is_float(network) for network in float_networks(SIZE)] == [True, True]
    assert [is_float(network) for network in networks] == [False, False]


def test_inputs_and_outputs_are_those_of_the_contract(
    networks: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    def told(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int, list[object]]]:
        return {
            v.name: (
                v.type.tensor_type.elem_type,
                [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim],
            )
            for v in values
        }

    encoder, decoder = networks
    assert told(list(encoder.graph.input)) == {"face": (TensorProto.UINT8, ["batch", SIZE, SIZE, 3])}
    assert {kind for kind, _ in told(list(encoder.graph.output)).values()} == {TensorProto.FLOAT16}
    inputs = told(list(decoder.graph.input))
    assert inputs["mel"] == (TensorProto.FLOAT, ["batch", 80, 16])
    assert inputs["skip0"][0] == inputs["skip1"][0] == TensorProto.FLOAT16
    assert told(list(decoder.graph.output)) == {"picture": (TensorProto.UINT8, ["batch", SIZE, SIZE, 3])}
    for network in networks:
        onnx.checker.check_model(network, full_check=True)


def test_weights_are_half_and_only_bytes_are_scaled_in_full(
    networks: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    for network in networks:
        own = [t for t in network.graph.initializer if not t.name.startswith(("face_", "picture_"))]
        assert own
        assert {tensor.data_type for tensor in own} <= HALF_TYPES


def test_bytes_touch_nothing_but_a_cast(networks: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    encoder, decoder = networks
    assert [n.op_type for n in encoder.graph.node if "face" in n.input] == ["Cast"]
    assert [n.op_type for n in decoder.graph.node if "picture" in n.output] == ["Cast"]


def test_the_encoder_gets_what_training_gives(faces: np.ndarray) -> None:
    encoder, _ = float_networks(SIZE)
    halve_encoder(encoder)
    encoder.graph.output.append(
        onnx.helper.make_tensor_value_info("face_input", TensorProto.FLOAT16, ["batch", 6, SIZE, SIZE])
    )
    (got,) = run(encoder, {"face": faces}, ["face_input"])
    np.testing.assert_allclose(got.astype(np.float32), face_input(faces), atol=2**-11)
    assert (got[:, :3, input_mask(SIZE)] == 0).all()


def test_the_decoder_gives_the_bytes_of_its_floats(
    faces: np.ndarray, networks: tuple[onnx.ModelProto, onnx.ModelProto]
) -> None:
    encoder, decoder = float_networks(SIZE)
    mels = np.random.default_rng(1).uniform(-4, 4, (3, 80, 16)).astype(np.float32)
    maps = run(encoder, {"face": face_input(faces)}, ["skip0", "skip1"])
    inputs = dict(zip(("skip0", "skip1"), maps, strict=True))
    (painted,) = run(decoder, {"mel": mels[:, None], **inputs}, ["picture"])
    half_maps = run(networks[0], {"face": faces}, ["skip0", "skip1"])
    half_inputs = dict(zip(("skip0", "skip1"), half_maps, strict=True))
    (picture,) = run(networks[1], {"mel": mels, **half_inputs}, ["picture"])
    assert np.abs(picture.astype(int) - to_pictures(painted)).max() <= 1


def test_what_leaves_the_range_is_clipped() -> None:
    _, decoder = float_networks(SIZE)
    for node in decoder.graph.node:
        if node.op_type == "Clip":
            node.CopyFrom(onnx.helper.make_node("Identity", ["sum"], ["picture"]))
    halve_decoder(decoder)
    skip = np.full((1, 3, SIZE, SIZE), 9, np.float16)
    inputs: dict[str, np.ndarray] = {
        "mel": np.full((1, 80, 16), -4, np.float32),
        "skip1": np.zeros((1, 3, 1, 1), np.float16),
    }
    assert (run(decoder, {**inputs, "skip0": skip}, ["picture"])[0] == 255).all()
    assert (run(decoder, {**inputs, "skip0": -skip}, ["picture"])[0] == 0).all()
