"""Feature spaces in which pictures are compared: likeness beyond single pixels.

VGG-19 as trained on ImageNet (Simonyan and Zisserman, 2015; weights published by torchvision) where its file
is at hand, else the first modules of the frozen sync discriminator, which know lips and teeth.
"""

import hashlib
import urllib.error
import urllib.request
from pathlib import Path
from pickle import UnpicklingError
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.errors import KouboError, MissingToolError
from engine.paths import cache_folder
from training import parallel
from training.models.discriminator import Discriminator, stack_frames

VGG_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
VGG_SHA256_START = "dcbb9e9d"
"""torchvision names its files by the first digits of their hash."""

_VGG_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
_VGG_TAPS = (3, 8, 17, 26, 35)  # after relu1_2, relu2_2, relu3_4, relu4_4, relu5_4
_JUDGE_MODULES = 4


class FeatureSpace(Protocol):
    """Turns sequences of five pictures into feature maps."""

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """(n, 5, 3, S, S) in [-1, 1] -> feature maps, fine to coarse."""
        ...


class JudgeFeatures:
    """The first modules of a frozen discriminator, on the face's lower half, at the pictures' own size."""

    def __init__(self, judge: Discriminator) -> None:
        self._judge = judge

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """(n, 5, 3, S, S) in [-1, 1] -> the maps after modules 1 to 4."""
        return self._judge.face.maps(stack_frames(pictures, pictures.shape[-1]), _JUDGE_MODULES)


class VggFeatures(nn.Module):
    """VGG-19 up to relu5_4, frozen."""

    def __init__(self, weights: Path) -> None:
        """Reads torchvision's file, or its tensors as safetensors. Raises KouboError for another file."""
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in _VGG_WIDTHS:
            if width:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])
        found = {k: v for k, v in _read_weights(weights).items() if k.startswith("features.")}
        try:
            self.features.load_state_dict({k.removeprefix("features."): v for k, v in found.items()})
        except RuntimeError as error:
            raise KouboError(
                f"{weights} does not hold VGG-19; give torchvision's vgg19-{VGG_SHA256_START}.pth."
            ) from error
        self.requires_grad_(False).eval()

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """(n, 5, 3, S, S) in [-1, 1] -> the maps after five ReLUs; every picture on its own."""
        assert isinstance(self.mean, Tensor)
        assert isinstance(self.std, Tensor)
        x = (pictures.flatten(0, 1) / 2 + 0.5 - self.mean) / self.std
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _VGG_TAPS:
                found.append(x)
        return found


def feature_space(judge: Discriminator, vgg: Path | None) -> FeatureSpace:
    """VGG-19 from the file `vgg`, else the judge's own features."""
    return VggFeatures(vgg).to(parallel.device()) if vgg else JudgeFeatures(judge)


def fetch_vgg() -> Path:
    """torchvision's VGG-19 in the cache, fetched once. Raises MissingToolError when it cannot be had."""
    target = cache_folder() / Path(VGG_URL).name
    if target.is_file():
        return target
    advice = f"download {VGG_URL} yourself and give the file with --vgg, or leave --vgg out."
    try:
        with urllib.request.urlopen(VGG_URL, timeout=120) as answer:
            content = bytes(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise MissingToolError(f"VGG-19 could not be fetched ({error}); {advice}") from error
    if not hashlib.sha256(content).hexdigest().startswith(VGG_SHA256_START):
        raise MissingToolError(f"VGG-19 arrived as another file than expected; {advice}")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    partial.write_bytes(content)
    partial.replace(target)
    return target


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise KouboError(f"There are no VGG-19 weights at {path}; check the path.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # torch's restricted reader: it makes tensors and refuses everything that could run.
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, ValueError, LookupError, EOFError) as error:
        raise KouboError(
            f"{path} is no file of weights ({type(error).__name__}); give torchvision's."
        ) from error
    return tensors
