import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.anchor.crop import Picture, input_mask
from engine.errors import KouboError
from engine.mouth.features import face_input, to_pictures
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.sheet import read_sheet
from engine.speech.mel import Mel
from training import checkpoint
from training.clip_data import FILMED_MASK_TOP
from training.models.generator import MouthDecoder, Parts
from training.models.presets import preset
from trt_build.bench import bench_mouth
from trt_build.check import TOLERANCE, Reference, check, session
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
    found = export(folder / "joint.safetensors", folder / "mouth", {"minutes": 0})
    assert 0 < found["random"].largest < 0.01
    return folder / "mouth"


def reference(parts: Parts) -> Reference:
    def draw(pictures: Picture, mels: Mel) -> NDArray[np.float32]:
        with torch.no_grad():
            skips = parts.face(torch.from_numpy(face_input(pictures)))
            painted = MouthDecoder(parts.ear, parts.decoder)(torch.from_numpy(mels[:, None]), *skips)
        return np.asarray(painted.numpy())

    return draw


def faces() -> Picture:
    return np.random.default_rng(0).integers(0, 256, (3, 192, 192, 3), np.uint8)


def test_the_sheet_tells_what_the_mouth_is(exported: Path) -> None:
    sheet = read_sheet(exported)
    assert (sheet.preset, sheet.size, sheet.mel_lead_ticks) == ("lite192", 192, 3)
    assert sheet.trained == {"minutes": 0}
    assert sheet.maps[0] == (3, 192, 192)
    assert sheet.maps[-1] == (160, 1, 1)
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
    truth = reference(parts)(faces()[:count], mels)
    difference = np.abs(pictures.astype(int) - to_pictures(truth))
    # bf16 has eight bits of mantissa; fp16 features in between.
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) <= 8


def test_in_half_precision_it_paints_what_torch_paints_within_a_level(exported: Path, parts: Parts) -> None:
    found = check(exported, read_sheet(exported), reference(parts))
    assert set(found) == {"random", "real"}
    assert all(difference.largest < TOLERANCE for difference in found.values())


def test_the_batch_is_free(exported: Path) -> None:
    decoder, encoder = session(exported / "mouth_decoder.onnx"), session(exported / "face_encoder.onnx")
    together = encoder.run(None, {"face": faces()})
    names = [value.name for value in encoder.get_outputs()]
    mels = np.random.default_rng(1).uniform(-4, 4, (3, 80, 16)).astype(np.float32)
    drawn = decoder.run(None, {"mel": mels, **dict(zip(names, together, strict=True))})[0]
    for number in range(3):
        one = [map_[number : number + 1] for map_ in together]
        alone = decoder.run(None, {"mel": mels[number : number + 1], **dict(zip(names, one, strict=True))})[0]
        assert np.abs(alone[0].astype(int) - drawn[number]).max() <= 1


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
    folder = tmp_path / "mouth"
    export_untrained("seed96", folder)
    mouth = OpenVinoMouth(folder)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    painted = mouth.decode(np.zeros((2, 80, 16), np.float32), mouth.encode(pictures))
    assert painted.shape == (2, 96, 96, 3)
    assert "random" in json.loads((folder / "model.json").read_text())["trained"]["weights"]


def test_an_unknown_preset_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="lite192"):
        export_untrained("giant", tmp_path / "mouth")
    assert not (tmp_path / "mouth").exists()


def test_random_weights_hear_and_stay_within_half_precision(tmp_path: Path) -> None:
    for name in ("lite96", "seed96"):
        found = export_untrained(name, tmp_path / name)
        assert max(difference.largest for difference in found.values()) < TOLERANCE
        mouth = OpenVinoMouth(tmp_path / name, precision="f32")
        features = mouth.encode(np.full((1, 96, 96, 3), 128, np.uint8))
        loud, silent = (mouth.decode(np.full((1, 80, 16), level, np.float32), features) for level in (2, -4))
        assert not np.array_equal(loud, silent)


def test_a_network_too_large_for_half_precision_is_not_written(tmp_path: Path, parts: Parts) -> None:
    loud = Parts.create(preset("lite96"))
    torch.nn.init.constant_(next(loud.face.parameters()), 3e4)
    checkpoint.save(tmp_path / "joint.safetensors", loud.named(), {"preset": "lite96"})
    with pytest.raises(KouboError, match="fp16"):
        export(tmp_path / "joint.safetensors", tmp_path / "mouth")
    assert list((tmp_path / "mouth").iterdir()) == []
