"""Weights of an exported mouth back in the networks that it was made from."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engine.errors import AvatarError, KouboError
from engine.mouth.features import face_input
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, read_sheet, write_sheet
from tests.training.personal import SMALL
from training.exported import Settled, load_exported
from training.models.generator import Parts

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("presets_known")


@pytest.fixture
def exported(small_mouths: Path) -> Path:
    """An untrained mouth of SMALL."""
    return small_mouths / SMALL.name


@pytest.fixture
def mouth(exported: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return shutil.copytree(exported, tmp_path / "mouth")


def painted(parts: Parts, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        skips = parts.face(torch.from_numpy(face_input(faces)))
        picture = parts.decoder(parts.ear(torch.from_numpy(mels[:, None])), skips)
    return np.asarray(picture.permute(0, 2, 3, 1).numpy() * 127.5 + 127.5)


def inputs(size: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    faces = random.integers(0, 256, (2, size, size, 3), np.uint8)
    return faces, random.uniform(-4, 4, (2, 80, 16)).astype(np.float32)


@pytest.mark.parametrize("training", [False, True])
def test_they_draw_what_the_mouth_draws(exported: Path, training: bool) -> None:
    """In training too: settled batch norms never look at the batch; only the ear's dropout would differ."""
    plan, parts = load_exported(exported)
    assert plan == SMALL
    for network in parts.named().values():
        network.train(training)
    parts.ear.eval()
    faces, mels = inputs(plan.size)
    runtime = OpenVinoMouth(exported, precision="f32")
    drawn = runtime.decode(mels, runtime.encode(faces))
    assert np.abs(painted(parts, faces, mels) - drawn).max() < 2.5


def test_the_shipped_mouth_comes_back() -> None:
    shipped = ROOT / "avatars" / "mouths" / "lite192"
    plan, parts = load_exported(shipped)
    assert plan.name == "lite192"
    for network in parts.named().values():
        network.eval()
    faces, mels = inputs(plan.size)
    runtime = OpenVinoMouth(shipped, precision="f32")
    drawn = runtime.decode(mels, runtime.encode(faces))
    assert np.abs(painted(parts, faces, mels) - drawn).mean() < 0.3


def test_statistics_stay_while_weights_learn(exported: Path) -> None:
    _, parts = load_exported(exported)
    norms = [module for module in parts.decoder.modules() if isinstance(module, Settled)]
    assert norms
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]  # type: ignore[union-attr]
    parts.decoder.train()
    parts.face.train()
    faces, _ = inputs(SMALL.size)
    skips = parts.face(torch.from_numpy(face_input(faces)))
    parts.decoder(torch.rand(2, 12), skips).sum().backward()
    for norm, (mean, variance) in zip(norms, before, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert torch.equal(norm.running_mean, mean)
        assert torch.equal(norm.running_var, variance)
        assert norm.bias.grad is not None
    assert any(norm.bias.grad.abs().max() > 0 for norm in norms if norm.bias.grad is not None)


def test_a_mouth_of_another_shape_is_refused(mouth: Path) -> None:
    model = onnx.load(str(mouth / MOUTH_DECODER))
    kept = [one for one in model.graph.initializer if one.name != "decoder.stages.0.0.conv.weight"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, str(mouth / MOUTH_DECODER))
    with pytest.raises(AvatarError, match=r"decoder\.stages|stages\.0\.0\.conv\.weight"):
        load_exported(mouth)


def test_a_damaged_network_is_refused(mouth: Path) -> None:
    (mouth / FACE_ENCODER).write_bytes(b"no network")
    with pytest.raises(AvatarError, match="damaged"):
        load_exported(mouth)


def test_an_unknown_preset_is_named(mouth: Path) -> None:
    write_sheet(mouth, replace(read_sheet(mouth), preset="giant"))
    with pytest.raises(KouboError, match="giant"):
        load_exported(mouth)
