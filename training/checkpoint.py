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

_NETWORK, _AVERAGE, _OPTIMISER, _RANDOM = "network", "average", "optimiser", "random"

Averages = Mapping[str, Mapping[str, Tensor]]
Optimisers = Mapping[str, torch.optim.Optimizer]


def save(
    path: Path,
    networks: Mapping[str, nn.Module],
    state: dict[str, Any],
    optimisers: Optimisers | None = None,
    averages: Averages | None = None,
) -> None:
    """Writes `path` (.safetensors): networks, their averages, optimiser moments, random state, JSON state.

    Raises KouboError when the disk is full; an older checkpoint of that name then stays as it was.
    """
    tensors: dict[str, Tensor] = {_RANDOM: torch.get_rng_state()}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors[f"{_NETWORK}/{name}/{key}"] = value.detach().contiguous()
    for name, average in (averages or {}).items():
        for key, value in average.items():
            tensors[f"{_AVERAGE}/{name}/{key}"] = value.contiguous()
    for name, optimiser in (optimisers or {}).items():
        for index, moments in optimiser.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"{_OPTIMISER}/{name}/{index}/{key}"] = torch.as_tensor(value).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    try:
        save_file(tensors, partial, metadata={"state": json.dumps(state)})
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise KouboError(
            f"{path} could not be written ({error}); make room on the disk and run the same command again."
        ) from error
    partial.replace(path)


def load(
    path: Path,
    networks: Mapping[str, nn.Module],
    optimisers: Optimisers | None = None,
    averages: Mapping[str, dict[str, Tensor]] | None = None,
) -> dict[str, Any]:
    """Reads what `save` wrote into `networks` (with `optimisers`, to go on training); returns the state.

    Raises KouboError when the file is missing, damaged or of another preset.
    """
    tensors, state = _read(path)
    for name, network in networks.items():
        _fill(network, _below(tensors, f"{_NETWORK}/{name}/"), path, state)
    for name, average in (averages or {}).items():
        average.update(_below(tensors, f"{_AVERAGE}/{name}/"))
    if optimisers is not None:
        torch.set_rng_state(tensors[_RANDOM])
        for name, optimiser in optimisers.items():
            _load_moments(_below(tensors, f"{_OPTIMISER}/{name}/"), optimiser)
    return state


def load_trained(path: Path, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Reads the networks for use: their averaged weights where the checkpoint has them. Raises KouboError."""
    tensors, state = _read(path)
    for name, network in networks.items():
        found = _below(tensors, f"{_AVERAGE}/{name}/") or _below(tensors, f"{_NETWORK}/{name}/")
        _fill(network, found, path, state)
    return state


def holds(path: Path, name: str) -> bool:
    """Whether the checkpoint has a network of that name."""
    tensors, _ = _read(path)
    return any(key.startswith(f"{_NETWORK}/{name}/") for key in tensors)


def read_state(path: Path) -> dict[str, Any]:
    """The JSON state in a checkpoint's header. Raises KouboError when it is missing or damaged."""
    if not path.is_file():
        raise KouboError(f"There is no checkpoint at {path}; train one first or check the path.")
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        state: dict[str, Any] = json.loads(header["__metadata__"]["state"])
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise KouboError(f"{path} is damaged; delete it and train again.") from error
    return state


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = read_state(path)
    try:
        return load_file(path), state
    except SafetensorError as error:
        raise KouboError(f"{path} is damaged; delete it and train again.") from error


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def _fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path, state: Mapping[str, Any]) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # torch's word for missing keys and other shapes
        raise KouboError(
            f"{path} is a checkpoint of another preset ({state.get('preset', '?')}) or of another kind; "
            "give the preset it was trained with."
        ) from error


def _load_moments(tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        moments.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
