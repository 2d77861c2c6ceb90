"""Two processes that train one network, started by torchrun as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.footage import talking
from training import checkpoint, parallel
from training.train_sync import CHECKPOINT

ROOT = Path(__file__).parents[2]

TOY = """
import json, sys
from itertools import count
from pathlib import Path

import torch
from torch import nn

from training import loop, parallel

out, rows = Path(sys.argv[1]), int(sys.argv[2])


def batches(first):
    for number in count(first):
        whole = torch.rand(rows * parallel.count(), 5, generator=torch.Generator().manual_seed(number))
        yield whole[parallel.rank() :: parallel.count()]


with parallel.joined():
    torch.manual_seed(100 + parallel.rank())  # ranks that start apart must be brought together
    if parallel.count() == 1:
        torch.manual_seed(100)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)

    def step(number, batch):
        return loop.Turn((network(batch.double()) - batch.double().sum(1, keepdim=True)).square().mean(), "t")

    training = loop.Training({"net": network}, {"t": optimiser}, step, lambda *_: None, ("net",))
    plan = loop.Plan(out / "toy.safetensors", 1e-2, steps=12)
    state = loop.resume(plan, "toy", training)
    loop.run(plan, state, training, batches(state.steps))
    weights = [p.tolist() for p in network.parameters()]
    told = parallel.agreed(float(parallel.rank() + 7))
    again = loop.resume(plan, "toy", training)  # every rank reads what rank 0 wrote
    weights += [again.steps, [p.tolist() for p in network.parameters()]]
    found = {"rank": parallel.rank(), "count": parallel.count(), "told": told, "weights": weights}
    (out / f"rank{parallel.rank()}.json").write_text(json.dumps(found))
"""


def environment() -> dict[str, str]:
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return {**{k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}, **own}


def torchrun(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *words,
    ]  # fmt: skip
    return subprocess.run(
        list(map(str, command)),
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_two_ranks_with_half_batches_are_one_with_the_whole(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    done = torchrun(tmp_path / "toy.py", tmp_path / "two", "3")
    assert done.returncode == 0, done.stderr
    alone = subprocess.run(
        [sys.executable, tmp_path / "toy.py", tmp_path / "one", "6"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    first, second = (json.loads((tmp_path / "two" / f"rank{r}.json").read_text()) for r in (0, 1))
    single = json.loads((tmp_path / "one" / "rank0.json").read_text())
    assert (first["count"], second["count"], single["count"]) == (2, 2, 1)
    assert first["told"] == second["told"] == 7
    assert first["weights"] == second["weights"]
    *trained, steps, resumed = first["weights"]
    assert (steps, resumed) == (12, trained)
    for ours, whole in zip(trained, single["weights"][:-2], strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(whole), rtol=1e-9, atol=1e-12)
    assert [p.name for p in (tmp_path / "two").glob("*.safetensors")] == ["toy.safetensors"]


@pytest.mark.slow
def test_koubo_trains_sync_with_two_processes(tmp_path: Path) -> None:
    talking(tmp_path / "clips", 3, 20)
    done = torchrun(
        "-m", "koubo", "train", "sync", "--data", tmp_path / "clips", "--output", tmp_path / "run",
        "--preset", "seed96", "--steps", "4", "--batch", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = tmp_path / "run" / CHECKPOINT
    assert checkpoint.read_state(path)["steps"] == 4
    assert not list((tmp_path / "run").glob("*.part"))
    assert len(list((tmp_path / "run" / "board").iterdir())) == 1


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    with parallel.joined():
        assert (parallel.rank(), parallel.count()) == (0, 1)
        parallel.average_gradients([weight])
        parallel.same_start({"net": torch.nn.Linear(1, 1)})
        assert parallel.agreed(3.5) == 3.5
    assert weight.grad.tolist() == [1, 2]


def test_the_mean_is_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gradient comes back in its own shape; parameters without one are passed over."""
    shapes = [(2, 3), (4,), (1, 1, 2)]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for number, parameter in enumerate(parameters):
        parameter.grad = torch.full(parameter.shape, float(number + 1))
    monkeypatch.setattr(parallel, "count", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda flat: flat.mul_(3))
    parallel.average_gradients([parameters[0], torch.nn.Parameter(torch.zeros(9)), *parameters[1:]])
    for number, parameter in enumerate(parameters):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, torch.full(parameter.shape, 1.5 * (number + 1)))
