from pathlib import Path

import pytest
import torch

from engine.errors import KouboError
from training import checkpoint


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(3):
        network(torch.rand(2, 3, 8, 8)).square().mean().backward()
        optimiser.step()
    return network, optimiser


def test_numbers_moments_and_state_return(tmp_path: Path) -> None:
    network, optimiser = trained()
    path = tmp_path / "run" / "net.safetensors"
    checkpoint.save(path, {"net": network}, {"preset": "p", "steps": 3}, optimiser)
    other, other_optimiser = trained()
    assert checkpoint.load(path, {"net": other}, other_optimiser) == {"preset": "p", "steps": 3}
    for mine, theirs in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    mine_state, their_state = optimiser.state_dict()["state"], other_optimiser.state_dict()["state"]
    assert torch.equal(mine_state[0]["exp_avg"], their_state[0]["exp_avg"])
    assert checkpoint.read_state(path)["preset"] == "p"
    assert not list(path.parent.glob("*.part"))


def test_resuming_goes_on_exactly_as_if_never_stopped(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network, optimiser = trained()
    checkpoint.save(path, {"net": network}, {}, optimiser)
    resumed, resumed_optimiser = trained()
    checkpoint.load(path, {"net": resumed}, resumed_optimiser)
    batch = torch.rand(2, 3, 8, 8)
    for net, opt in ((network, optimiser), (resumed, resumed_optimiser)):
        opt.zero_grad()
        net(batch).square().mean().backward()
        opt.step()
    for mine, theirs in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="no checkpoint"):
        checkpoint.load(tmp_path / "none.safetensors", {})


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"not a checkpoint at all")
    with pytest.raises(KouboError, match="damaged"):
        checkpoint.load(path, {"net": trained()[0]})


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, {"net": trained()[0]}, {})
    with pytest.raises(KouboError, match="another preset"):
        checkpoint.load(path, {"net": torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))})
