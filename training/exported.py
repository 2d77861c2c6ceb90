"""Weights of an exported mouth back in the networks that it was made from, to train them on.

Checkpoints are large and stay with whoever trained them; the exported networks go with every avatar. Export
folds batch norm into the convolutions and rounds to fp16, so what comes back draws what the mouth draws, with
batch norms that only add: they keep their statistics for good (`Settled`).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from engine.errors import AvatarError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, read_sheet
from training.models.generator import Parts
from training.models.presets import Preset, preset

_FOLDED = "weight_bias"  # what the exporter calls the bias that batch norm becomes


class Settled(nn.BatchNorm2d):
    """Batch norm that never looks at the batch: weights and biases learn, statistics stay."""

    def train(self, mode: bool = True) -> "Settled":
        """Stays as for use."""
        return super().train(False)


def load_exported(mouth: Path) -> tuple[Preset, Parts]:
    """The preset of the mouth in a folder, and its networks, settled.

    Raises AvatarError for a damaged mouth, or one of another shape than its preset says.
    """
    plan = preset(read_sheet(mouth).preset)
    parts = Parts.create(plan)
    found = _weights(mouth / FACE_ENCODER)
    _fill(parts.face, found, mouth)
    found = _weights(mouth / MOUTH_DECODER)
    for name, network in (("ear.", parts.ear), ("decoder.", parts.decoder)):
        below = {key.removeprefix(name): value for key, value in found.items() if key.startswith(name)}
        _fill(network, below, mouth)
    return plan, parts


def settle(network: nn.Module) -> None:
    """Makes every batch norm of a network keep its statistics."""
    for norm in _norms(network):
        norm.__class__ = Settled
        norm.train(False)


def _norms(network: nn.Module) -> Iterator[nn.BatchNorm2d]:
    return (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))


def _weights(file: Path) -> dict[str, NDArray[np.float32]]:
    try:
        graph = onnx.load(str(file)).graph
    except (OSError, DecodeError) as error:
        raise AvatarError(f"{file} is missing or damaged; export the mouth again.") from error
    return {one.name: numpy_helper.to_array(one).astype(np.float32) for one in graph.initializer}


def _fill(network: nn.Module, found: dict[str, NDArray[np.float32]], mouth: Path) -> None:
    """Weights by their names; batch norms that add what the export folded."""
    for norm in _norms(network):
        # sqrt(1 - eps + eps) = 1: nothing is scaled, whatever eps is.
        nn.init.constant_(norm.running_var, 1 - norm.eps)  # type: ignore[arg-type]
    state = network.state_dict()
    for key, value in state.items():
        source = key
        if key.endswith("norm.bias"):
            source = f"{key.removesuffix('norm.bias')}conv.{_FOLDED}"
        elif ".norm." in key:
            continue
        state[key] = _tensor(found.get(source), value, mouth, source)
    network.load_state_dict(state)
    settle(network)


def _tensor(value: NDArray[np.float32] | None, like: Tensor, mouth: Path, name: str) -> Tensor:
    if value is None or value.shape != tuple(like.shape):
        raise AvatarError(
            f"The mouth in {mouth} is not what its preset says ({name} is missing or of another shape), so "
            "it cannot be trained on; export it again."
        )
    return torch.from_numpy(value.copy())
