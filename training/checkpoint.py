"""Checkpoints: safetensors for numbers, JSON for the rest; written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import KouboError

_NETWORK, _OPTIMISER = "network", "optimiser"


def save(
    path: Path,
    networks: Mapping[str, nn.Module],
    state: dict[str, Any],
    optimiser: torch.optim.Optimizer | None = None,
) -> None:
    """Writes `path` (.safetensors) with networks, optimiser moments and a JSON state in its header."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors[f"{_NETWORK}/{name}/{key}"] = value.detach().contiguous()
    if optimiser is not None:
        for index, moments in optimiser.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"{_OPTIMISER}/{index}/{key}"] = torch.as_tensor(value).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={"state": json.dumps(state)})
    partial.replace(path)


def load(
    path: Path, networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Reads what `save` wrote into `networks` (and `optimiser`); returns the state.

    Raises KouboError when the file is missing, damaged or of another preset.
    """
    if not path.is_file():
        raise KouboError(f"There is no checkpoint at {path}; train one first or check the path.")
    try:
        tensors = load_file(path)
        state = read_state(path)
        for name, network in networks.items():
            prefix = f"{_NETWORK}/{name}/"
            network.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
    except SafetensorError as error:
        raise KouboError(f"{path} is damaged; delete it and train again.") from error
    except RuntimeError as error:  # torch's word for missing keys and other shapes
        raise KouboError(
            f"{path} is a checkpoint of another preset; give the preset it was trained with."
        ) from error
    if optimiser is not None:
        _load_optimiser(tensors, optimiser)
    return state


def read_state(path: Path) -> dict[str, Any]:
    """The JSON state in a checkpoint's header."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    state: dict[str, Any] = json.loads(header["__metadata__"]["state"])
    return state


def _load_optimiser(tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    current = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{_OPTIMISER}/"):
            _, index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": moments, "param_groups": current["param_groups"]})
