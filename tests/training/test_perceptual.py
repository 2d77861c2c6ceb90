import io
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import KouboError, MissingToolError
from tests.training.footage import TINY
from training import perceptual
from training.losses import feature_loss
from training.models.discriminator import FRAMES, Discriminator
from training.perceptual import JudgeFeatures, VggFeatures, feature_space, fetch_vgg

# torchvision's vgg19: configuration E, "features.N" for each convolution.
CONVS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 19: (256, 512)}
CONVS |= dict.fromkeys((12, 14, 16), (256, 256)) | dict.fromkeys((21, 23, 25, 28, 30, 32, 34), (512, 512))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for number, (inputs, outputs) in CONVS.items():
        scale = (2 / (9 * inputs)) ** 0.5
        tensors[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=random) * scale
        tensors[f"features.{number}.bias"] = torch.zeros(outputs)
    tensors["classifier.6.weight"] = torch.zeros(4, 4)  # there in torchvision's file, of no use here
    return tensors


@pytest.fixture(scope="module")
def vgg_file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def space(vgg_file: Path) -> VggFeatures:
    return VggFeatures(vgg_file)


def test_torchvision_s_file_gives_five_maps(space: VggFeatures) -> None:
    maps = space.maps(torch.rand(1, FRAMES, 3, 32, 32) * 2 - 1)
    assert [tuple(m.shape) for m in maps] == [
        (5, 64, 32, 32), (5, 128, 16, 16), (5, 256, 8, 8), (5, 512, 4, 4), (5, 512, 2, 2),
    ]  # fmt: skip
    assert all((m >= 0).all() for m in maps)
    assert not any(p.requires_grad for p in space.parameters())


def test_the_same_tensors_as_safetensors_give_the_same_maps(
    space: VggFeatures, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "vgg19.safetensors")
    pictures = torch.rand(1, FRAMES, 3, 32, 32) * 2 - 1
    ours = VggFeatures(tmp_path / "vgg19.safetensors").maps(pictures)
    for a, b in zip(ours, space.maps(pictures), strict=True):
        assert torch.equal(a, b)


def test_pictures_are_scaled_as_imagenet_s_were(space: VggFeatures) -> None:
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None].expand(3, 32, 32) * 2 - 1
    first = space.maps(mean.expand(1, FRAMES, 3, 32, 32))
    assert first[0].abs().max() < 1e-5


def test_gradients_reach_the_pictures_and_nothing_else(space: VggFeatures) -> None:
    pictures = (torch.rand(1, FRAMES, 3, 32, 32) * 2 - 1).requires_grad_()
    feature_loss(space.maps(pictures), space.maps(-pictures.detach())).backward()  # type: ignore[no-untyped-call]
    assert pictures.grad is not None
    assert pictures.grad.abs().max() > 0
    assert all(p.grad is None for p in space.parameters())


@pytest.mark.parametrize(
    "tensors",
    [
        {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)},
        {"layer1.0.weight": torch.zeros(3, 3)},
        {"features.0.weight": torch.zeros(32, 3, 3, 3)},
    ],
    ids=["the first layer only", "another network", "other sizes"],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_network_is_refused(tensors: dict[str, Tensor], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    with pytest.raises(KouboError, match="does not hold VGG-19"):
        VggFeatures(path)


@pytest.mark.parametrize("name", ["vgg19.pth", "vgg19.safetensors"])
@pytest.mark.parametrize("content", [b"", b"this is no file of weights at all", b"PK\x03\x04 broken zip"])
def test_a_file_of_anything_else_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(KouboError, match="no file of weights"):
        VggFeatures(tmp_path / name)


class Harmful:
    """Would run a command if a plain unpickler read it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, ("/tmp/koubo-test-must-not-exist",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": Harmful()}, tmp_path / "vgg19.pth")
    with pytest.raises(KouboError, match="no file of weights"):
        VggFeatures(tmp_path / "vgg19.pth")
    assert not Path("/tmp/koubo-test-must-not-exist").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match=r"none\.pth"):
        VggFeatures(tmp_path / "none.pth")


def test_without_vgg_the_judge_s_own_modules_are_the_features() -> None:
    torch.manual_seed(0)
    judge = Discriminator(TINY).requires_grad_(False).eval()
    space = feature_space(judge, None)
    assert isinstance(space, JudgeFeatures)
    pictures = (torch.rand(2, FRAMES, 3, 48, 48) * 2 - 1).requires_grad_()
    maps = space.maps(pictures)
    assert [tuple(m.shape) for m in maps] == [(2, 4, 24, 48), (2, 6, 24, 24), (2, 8, 12, 12), (2, 8, 6, 6)]
    sum(m.mean() for m in maps).backward()  # type: ignore[union-attr]
    assert pictures.grad is not None
    assert pictures.grad[..., 20:28, 20:28].abs().max() > 0
    assert not pictures.grad[..., :10, :].any()


class Answer(io.BytesIO):
    """What a server sends."""


def test_vgg_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    asked: list[str] = []

    def opened(url: str, timeout: float) -> Answer:
        asked.append(url)
        return Answer(b"weights")

    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    monkeypatch.setattr(perceptual, "VGG_SHA256_START", hashlib.sha256(b"weights").hexdigest()[:8])
    path = fetch_vgg()
    assert path.read_bytes() == b"weights"
    assert fetch_vgg() == path
    assert asked == [perceptual.VGG_URL]
    assert [p.name for p in tmp_path.iterdir()] == ["vgg19-dcbb9e9d.pth"]


@pytest.mark.parametrize("failure", ["refused", "another file", "slow"])
def test_vgg_that_cannot_be_had_says_what_to_do(
    failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(url: str, timeout: float) -> Answer:
        if failure == "refused":
            raise urllib.error.URLError("refused")
        if failure == "slow":
            raise TimeoutError("timed out")
        return Answer(b"a login page")

    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    with pytest.raises(MissingToolError, match="--vgg"):
        fetch_vgg()
    assert not list(tmp_path.iterdir())
