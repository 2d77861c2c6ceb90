import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import KouboError
from training import checkpoint


def trained(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(3):
        network(torch.rand(2, 3, 8, 8)).square().mean().backward()
        optimiser.step()
    return network, optimiser


def test_numbers_moments_averages_and_state_return(tmp_path: Path) -> None:
    network, optimiser = trained()
    path = tmp_path / "run" / "net.safetensors"
    averages = {"net": {key: value * 0.5 for key, value in network.state_dict().items()}}
    checkpoint.save(path, {"net": network}, {"preset": "p", "steps": 3}, {"a": optimiser}, averages)
    other, other_optimiser = trained(1)
    found: dict[str, dict[str, Tensor]] = {"net": {}}
    assert checkpoint.load(path, {"net": other}, {"a": other_optimiser}, found) == {"preset": "p", "steps": 3}
    for mine, theirs in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert set(averages["net"]) == set(found["net"])
    for key, value in averages["net"].items():
        assert torch.equal(value, found["net"][key])
    mine_state, their_state = optimiser.state_dict()["state"], other_optimiser.state_dict()["state"]
    for index, moments in mine_state.items():
        for key, value in moments.items():
            assert torch.equal(torch.as_tensor(value), their_state[index][key])
    assert checkpoint.read_state(path)["preset"] == "p"
    assert not list(path.parent.glob("*.part"))


def test_resuming_goes_on_exactly_as_if_never_stopped(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network, optimiser = trained()
    checkpoint.save(path, {"net": network}, {}, {"a": optimiser})
    resumed, resumed_optimiser = trained(1)
    checkpoint.load(path, {"net": resumed}, {"a": resumed_optimiser})
    batch = torch.rand(2, 3, 8, 8)
    for net, opt in ((network, optimiser), (resumed, resumed_optimiser)):
        opt.zero_grad()
        net(batch).square().mean().backward()
        opt.step()
    for mine, theirs in zip(network.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_chance_goes_on_where_it_was(tmp_path: Path) -> None:
    network, optimiser = trained()
    checkpoint.save(tmp_path / "n.safetensors", {"net": network}, {}, {"a": optimiser})
    expected = torch.rand(4)
    torch.manual_seed(99)
    checkpoint.load(tmp_path / "n.safetensors", {"net": network}, {"a": optimiser})
    assert torch.equal(torch.rand(4), expected)


def test_averages_are_what_is_used(tmp_path: Path) -> None:
    network, _ = trained()
    averages = {"net": {key: value * 0.5 for key, value in network.state_dict().items()}}
    other, _ = trained(1)
    checkpoint.save(tmp_path / "a.safetensors", {"net": network}, {}, None, averages)
    checkpoint.load_trained(tmp_path / "a.safetensors", {"net": other})
    assert torch.equal(other.state_dict()["0.weight"], network.state_dict()["0.weight"] * 0.5)
    checkpoint.save(tmp_path / "b.safetensors", {"net": network}, {})
    checkpoint.load_trained(tmp_path / "b.safetensors", {"net": other})
    assert torch.equal(other.state_dict()["0.weight"], network.state_dict()["0.weight"])


def test_a_checkpoint_knows_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    checkpoint.save(path, {"net": trained()[0]}, {})
    assert checkpoint.holds(path, "net")
    assert not checkpoint.holds(path, "ne")
    assert not checkpoint.holds(path, "face")


@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.load_trained])
def test_a_missing_checkpoint_is_named(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(KouboError, match=r"no checkpoint at .*none\.safetensors"):
        read(tmp_path / "none.safetensors", {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"not a checkpoint at all",
        b"\xff" * 64,
        (8).to_bytes(8, "little") + b'{"a": 1}',
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    with pytest.raises(KouboError, match="damaged"):
        checkpoint.load(path, {"net": trained()[0]})


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_checkpoint_cut_short_is_named(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, {"net": trained()[0]}, {"preset": "p"})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(KouboError, match="damaged"):
        checkpoint.load(path, {"net": trained()[0]})


def test_weights_that_no_training_wrote_are_named(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "net.safetensors")
    with pytest.raises(KouboError, match="damaged"):
        checkpoint.load(tmp_path / "net.safetensors", {"net": trained()[0]})


@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.load_trained])
def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path, read: object) -> None:
    assert callable(read)
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, {"net": trained()[0]}, {"preset": "giant"})
    for other in (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), nn.Linear(2, 2)):
        with pytest.raises(KouboError, match=r"another preset \(giant\)"):
            read(path, {"net": other})
    with pytest.raises(KouboError, match="another"):
        read(path, {"discriminator": trained()[0]})


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.safetensors"
    network, _ = trained()
    checkpoint.save(path, {"net": network}, {"steps": 1})
    before = path.read_bytes()

    def full(tensors: object, file: Path, metadata: object) -> None:
        Path(file).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(KouboError, match="make room on the disk") as error:
        checkpoint.save(path, {"net": network}, {"steps": 2})
    assert "No space left" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
    assert checkpoint.read_state(path) == {"steps": 1}


def test_a_writer_that_is_really_stopped_is_told(tmp_path: Path) -> None:
    """The writer's own error for a file that may not grow, not one that a test made up."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, {"net": nn.Linear(2, 2)}, {"steps": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(KouboError, match=r"could not be written.*make room"):
            checkpoint.save(path, {"net": nn.Linear(200, 200)}, {"steps": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.read_state(path) == {"steps": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_states_in_any_script_survive(tmp_path: Path) -> None:
    path = tmp_path / "嘴.safetensors"
    checkpoint.save(path, {"net": trained()[0]}, {"preset": "种子", "curve": [[100, 0.5]]})
    assert checkpoint.read_state(path) == {"preset": "种子", "curve": [[100, 0.5]]}
    assert json.dumps(checkpoint.read_state(path))
