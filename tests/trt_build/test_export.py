import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.anchor.crop import Picture, input_mask
from engine.errors import KouboError
from engine.mouth.features import face_input, to_pictures
from engine.mouth.openvino_runtime import OpenVinoMouth
from training import checkpoint
from training.clip_data import FILMED_MASK_TOP
from training.models.generator import MouthDecoder, Parts
from training.models.presets import preset
from trt_build.bench import bench_mouth
from trt_build.export import MaskedEncoder, export, export_untrained


@pytest.fixture(scope="module")
def parts() -> Parts:
    torch.manual_seed(1)
    parts = Parts.create(preset("lite192"))
    # Untrained films and output would hide the live half: give them something to say.
    for tensor in (*parts.decoder.films.parameters(), *parts.decoder.output.parameters()):
        torch.nn.init.normal_(tensor, std=0.05)
    for network in parts.named().values():
        network.eval()
    return parts


@pytest.fixture(scope="module")
def exported(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    checkpoint.save(folder / "joint.safetensors", parts.named(), {"preset": "lite192"})
    return export(folder / "joint.safetensors", folder / "mouth", {"minutes": 0})


def faces() -> Picture:
    return np.random.default_rng(0).integers(0, 256, (3, 192, 192, 3), np.uint8)


def test_the_sheet_tells_what_the_mouth_is(exported: Path) -> None:
    sheet = json.loads((exported / "model.json").read_text())
    assert sheet == {
        "schema": 1, "preset": "lite192", "size": 192, "mel_lead_ticks": 3, "trained": {"minutes": 0},
    }  # fmt: skip
    assert sorted(path.name for path in exported.iterdir()) == [
        "face_encoder.onnx", "model.json", "mouth_decoder.onnx",
    ]  # fmt: skip


def test_no_path_of_this_machine_is_written(exported: Path) -> None:
    for name in ("face_encoder.onnx", "mouth_decoder.onnx"):
        content = (exported / name).read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        assert b".py" not in content


@pytest.mark.parametrize("count", [1, 3])
def test_the_engine_paints_what_torch_paints(exported: Path, parts: Parts, count: int) -> None:
    mouth = OpenVinoMouth(exported)
    mels = np.random.default_rng(1).uniform(-4, 4, (count, 80, 16)).astype(np.float32)
    pictures = mouth.decode(mels, mouth.encode(faces()[:count]))
    with torch.no_grad():
        skips = parts.face(torch.from_numpy(face_input(faces()[:count])))
        truth = MouthDecoder(parts.ear, parts.decoder)(torch.from_numpy(mels[:, None]), *skips)
    difference = np.abs(pictures.astype(int) - to_pictures(truth.numpy()))
    # bf16 has eight bits of mantissa; fp16 features in between.
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) <= 8


def test_speech_changes_the_picture(exported: Path) -> None:
    mouth = OpenVinoMouth(exported)
    features = mouth.encode(faces()[:1])
    loud = np.full((1, 80, 16), 1.0, np.float32)
    silent = np.full((1, 80, 16), -4.0, np.float32)
    assert not np.array_equal(mouth.decode(loud, features), mouth.decode(silent, features))


def test_bench_reports_percentiles(exported: Path) -> None:
    report = bench_mouth(OpenVinoMouth(exported), exported, frames=12)
    spent = report["ms_per_frame"]
    assert 0 < spent["p50"] <= spent["p95"] <= spent["p99"]
    assert report["runtime"] == "openvino"


def test_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="no checkpoint"):
        export(tmp_path / "none.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mouth_that_learned_from_filmed_clips_sees_nothing_below_the_eyes(tmp_path: Path) -> None:
    plan = preset("seed96")
    torch.manual_seed(2)
    parts = Parts.create(plan)
    parts.face.eval()
    face = torch.from_numpy(face_input(np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)))
    masked = face.clone()
    masked[:, :3] = torch.where(torch.from_numpy(input_mask(96, FILMED_MASK_TOP)), 0.0, face[:, 3:])
    with torch.no_grad():
        ours, wanted = MaskedEncoder(parts.face, 96)(face), parts.face(masked)
    assert all(torch.equal(a, b) for a, b in zip(ours, wanted, strict=True))
    assert not torch.equal(parts.face(face)[0], wanted[0])


def test_the_seed_s_own_shape_is_exported_and_runs(tmp_path: Path) -> None:
    folder = export_untrained("seed96", tmp_path / "mouth")
    mouth = OpenVinoMouth(folder)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    painted = mouth.decode(np.zeros((2, 80, 16), np.float32), mouth.encode(pictures))
    assert painted.shape == (2, 96, 96, 3)
    assert "random" in json.loads((folder / "model.json").read_text())["trained"]["weights"]


def test_an_unknown_preset_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="lite192"):
        export_untrained("giant", tmp_path / "mouth")
    assert not (tmp_path / "mouth").exists()
