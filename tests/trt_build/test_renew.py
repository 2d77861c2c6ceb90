import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.errors import AvatarError
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.sheet import read_sheet
from tests.tiny_mouth import float_networks, write_tiny_mouth
from trt_build.renew import renew

SIZE = 48


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A mouth as Koubo 0.1 wrote it."""
    folder = tmp_path / "first"
    folder.mkdir()
    for network, name in zip(float_networks(SIZE), ("face_encoder", "mouth_decoder"), strict=True):
        onnx.save(network, str(folder / f"{name}.onnx"))
    sheet = {"schema": 1, "preset": "tiny", "size": SIZE, "mel_lead_ticks": 3, "trained": {"minutes": 7}}
    (folder / "model.json").write_text(json.dumps(sheet))
    return folder


def test_the_first_schema_is_refused_with_the_command_that_renews_it(first: Path) -> None:
    with pytest.raises(AvatarError, match=f"koubo export --avatar {first} --output {first}"):
        OpenVinoMouth(first)


def test_a_mouth_of_the_first_schema_draws_as_before(first: Path, tmp_path: Path) -> None:
    found = renew(first, tmp_path / "new")
    assert found["random"].largest < 0.01
    sheet = read_sheet(tmp_path / "new")
    assert (sheet.preset, sheet.trained) == ("tiny", {"minutes": 7})
    assert sheet.maps == ((3, SIZE, SIZE), (3, 1, 1))
    direct = OpenVinoMouth(write_tiny_mouth(tmp_path / "direct", SIZE), precision="f32")
    mouth = OpenVinoMouth(tmp_path / "new", precision="f32")
    faces = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    mels = np.random.default_rng(1).uniform(-4, 4, (2, 80, 16)).astype(np.float32)
    np.testing.assert_array_equal(
        mouth.decode(mels, mouth.encode(faces)), direct.decode(mels, direct.encode(faces))
    )


def test_it_is_renewed_in_place_and_may_be_renewed_again(first: Path) -> None:
    renew(first, first)
    files = {path.name: path.read_bytes() for path in first.iterdir()}
    assert set(files) == {"face_encoder.onnx", "mouth_decoder.onnx", "model.json"}
    renew(first, first)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == files


@pytest.mark.parametrize("name", ["face_encoder.onnx", "mouth_decoder.onnx", "model.json"])
@pytest.mark.parametrize("content", [b"nothing of use", None])
def test_a_damaged_mouth_is_told_and_nothing_is_written(
    first: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is None:
        (first / name).unlink()
    else:
        (first / name).write_bytes(content)
    with pytest.raises(AvatarError, match="damaged"):
        renew(first, tmp_path / "new")
    assert not (tmp_path / "new").exists()
