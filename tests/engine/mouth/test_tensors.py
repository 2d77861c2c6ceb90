"""What goes into and comes out of a mouth's networks, against the files themselves."""

from pathlib import Path

import onnx
import pytest

from engine.mouth.sheet import MouthSheet, read_sheet
from engine.mouth.tensors import DECODER, ENCODER, MouthTensors
from tests.tiny_mouth import write_tiny_mouth

SHEET = MouthSheet("lite", 96, ((16, 96, 96), (32, 48, 48), (64, 1, 1)), 3, {})


def test_the_tensors_of_a_sheet() -> None:
    tensors = MouthTensors.of(SHEET)
    assert [tensor.name for tensor in tensors.inputs(ENCODER)] == ["face"]
    assert tensors.outputs(ENCODER) == tensors.maps
    assert tensors.inputs(DECODER) == (tensors.mel, *tensors.maps)
    assert tensors.outputs(DECODER) == (tensors.picture,)
    assert [map_.name for map_ in tensors.maps] == ["skip0", "skip1", "skip2"]
    assert [map_.size for map_ in tensors.maps] == [2 * 16 * 96 * 96, 2 * 32 * 48 * 48, 2 * 64]
    assert (tensors.face.size, tensors.picture.size, tensors.mel.size) == (
        96 * 96 * 3,
        96 * 96 * 3,
        80 * 16 * 4,
    )


@pytest.mark.parametrize("part", [ENCODER, DECODER])
def test_the_files_of_a_mouth_have_these_tensors(part: str, tmp_path: Path) -> None:
    folder = write_tiny_mouth(tmp_path, 32)
    tensors = MouthTensors.of(read_sheet(folder))
    graph = onnx.load(str(folder / f"{part}.onnx")).graph
    for values, wanted in ((graph.input, tensors.inputs(part)), (graph.output, tensors.outputs(part))):
        found = [
            (
                value.name,
                onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
                tuple(side.dim_value for side in value.type.tensor_type.shape.dim[1:]),
            )
            for value in values
        ]
        assert found == [(tensor.name, tensor.dtype, tensor.shape) for tensor in wanted]
