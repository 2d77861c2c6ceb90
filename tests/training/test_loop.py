"""The loop with a network small enough to follow by hand."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.errors import KouboError
from training import checkpoint, loop
from training.loop import Plan, State, Training, Turn

Reports = list[tuple[float, dict[str, float]]]


class Two:
    """Two networks that take turns, and what the loop was told."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks: dict[str, nn.Module] = {"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)}
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "a": torch.optim.AdamW(self.networks["a"].parameters(), 1e-2),
            "b": torch.optim.AdamW([{"params": list(self.networks["b"].parameters()), "share": 0.1}], 1e-2),
        }
        self.reports: Reports = []
        self.saved: list[int] = []

    def step(self, number: int, batch: Tensor) -> Turn:
        name = "ab"[number % 2]
        return Turn(self.networks[name](batch).square().mean(), name, {"number": float(number)})

    def training(self) -> Training[Tensor]:
        return Training(
            self.networks,
            self.optimisers,
            self.step,
            lambda share, figures: self.reports.append((share, figures)),
            ("a",),
            on_save=lambda steps, _: self.saved.append(steps),
        )


def batches(start: int = 0) -> Iterator[Tensor]:
    for number in count(start):
        yield torch.rand(4, 3, generator=torch.Generator().manual_seed(number))


def trained(path: Path, steps: int) -> tuple[Two, State, Training[Tensor]]:
    two = Two()
    training = two.training()
    plan = Plan(path, 1e-2, steps=steps)
    state = loop.resume(plan, "p", training)
    loop.run(plan, state, training, batches(state.steps))
    return two, state, training


def test_it_stops_at_its_steps_and_keeps_itself(tmp_path: Path) -> None:
    two, state, _ = trained(tmp_path / "n.safetensors", 45)
    assert state.steps == 45
    assert checkpoint.read_state(tmp_path / "n.safetensors")["steps"] == 45
    assert [share for share, _ in two.reports] == pytest.approx([20 / 45, 40 / 45])
    assert two.reports[0][1]["number"] == 19
    assert two.reports[0][1]["steps/s"] > 0


def test_a_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first, _, _ = trained(tmp_path / "n.safetensors", 10)
    again, state, _ = trained(tmp_path / "n.safetensors", 10)
    assert state.steps == 10
    assert again.reports == []
    assert torch.equal(first.networks["a"].weight, again.networks["a"].weight)  # type: ignore[arg-type]


def test_only_the_network_whose_turn_it_is_moves(tmp_path: Path) -> None:
    two = Two()
    before = {name: n.weight.detach().clone() for name, n in two.networks.items()}  # type: ignore[operator]
    plan = Plan(tmp_path / "n.safetensors", 1e-2, steps=1)
    training = two.training()
    loop.run(plan, loop.resume(plan, "p", training), training, batches())
    assert not torch.equal(two.networks["a"].weight, before["a"])  # type: ignore[arg-type]
    assert torch.equal(two.networks["b"].weight, before["b"])  # type: ignore[arg-type]


def test_the_rate_warms_up_falls_and_is_shared(tmp_path: Path) -> None:
    two = Two()
    rates: list[tuple[float, float]] = []
    step = two.step

    def watched(number: int, batch: Tensor) -> Turn:
        rates.append((two.optimisers["a"].param_groups[0]["lr"], two.optimisers["b"].param_groups[0]["lr"]))
        return step(number, batch)

    training = Training(two.networks, two.optimisers, watched, lambda *_: None)
    plan = Plan(tmp_path / "n.safetensors", 1e-2, steps=400)
    loop.run(plan, loop.resume(plan, "p", training), training, batches())
    ours = [a for a, _ in rates[1:]]
    assert ours[0] < 3e-4
    assert max(ours) == pytest.approx(1e-2, rel=0.2)
    assert 80 <= ours.index(max(ours)) <= 110
    assert ours[-1] < 1e-4
    assert rates[201][1] == pytest.approx(0.1 * rates[201][0], rel=0.05)


def test_averages_follow_the_network(tmp_path: Path) -> None:
    two, _, training = trained(tmp_path / "n.safetensors", 30)
    average, weight = training.averages["a"]["weight"], two.networks["a"].weight
    assert isinstance(weight, Tensor)
    start = Two().networks["a"].weight
    assert isinstance(start, Tensor)
    assert (average - weight).norm() < (start - weight).norm()
    assert not torch.equal(average, weight)
    assert set(training.averages) == {"a"}


def test_gradients_are_clipped(tmp_path: Path) -> None:
    two = Two()
    seen: list[float] = []

    def step(number: int, batch: Tensor) -> Turn:
        return Turn(1e6 * two.networks["a"](batch).square().mean(), "a")

    optimiser = two.optimisers["a"]
    inner = optimiser.step

    def watched() -> None:
        gradients = [p.grad for p in two.networks["a"].parameters() if p.grad is not None]
        seen.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        inner()

    optimiser.step = watched  # type: ignore[method-assign,assignment]
    training = Training(two.networks, two.optimisers, step, lambda *_: None)
    plan = Plan(tmp_path / "n.safetensors", 1e-2, steps=2)
    loop.run(plan, loop.resume(plan, "p", training), training, batches())
    assert seen == pytest.approx([1, 1], rel=1e-3)


def test_the_curve_has_a_point_every_hundred_steps(tmp_path: Path) -> None:
    _, state, _ = trained(tmp_path / "n.safetensors", 250)
    assert [point[0] for point in state.curve] == [100, 200]
    assert all(point[1] > 0 for point in state.curve)


def test_minutes_count_computing_time_over_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(second) for second in count())
    monkeypatch.setattr("training.loop.time.monotonic", lambda: next(clock))
    plan = Plan(tmp_path / "n.safetensors", 1e-2, minutes=0.5)
    two = Two()
    training = two.training()
    state = loop.resume(plan, "p", training)
    loop.run(plan, state, training, batches())
    assert state.seconds == pytest.approx(30, abs=1)
    longer = Plan(plan.path, 1e-2, minutes=0.75)
    state = loop.resume(longer, "p", training)
    assert longer.progress(state) == pytest.approx(30 / 45, abs=0.05)


def test_no_time_at_all_is_done_at_once() -> None:
    assert Plan(Path("x"), 1e-2).progress(State("p")) >= 1


def test_checkpoints_are_shown_when_they_are_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", -1.0)
    two, _, _ = trained(tmp_path / "n.safetensors", 3)
    assert two.saved == [1, 2, 3]


def test_another_preset_s_checkpoint_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "n.safetensors", 2)
    with pytest.raises(KouboError, match=r"another preset \(p\), this run is q; choose another output"):
        loop.resume(Plan(tmp_path / "n.safetensors", 1e-2, steps=4), "q", Two().training())


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.safetensors").write_bytes(b"half of a checkpoint")
    with pytest.raises(KouboError, match="damaged"):
        loop.resume(Plan(tmp_path / "n.safetensors", 1e-2, steps=4), "p", Two().training())


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_stopped_and_resumed_is_bit_for_bit_the_same(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", -1.0)
    straight, _, whole = trained(tmp_path / "straight.safetensors", 8)
    two = Two()
    training = two.training()
    plan = Plan(tmp_path / "broken.safetensors", 1e-2, steps=8)

    def until(stop: int) -> Iterator[Tensor]:
        yield from (batch for _, batch in zip(range(stop), batches(), strict=False))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run(plan, loop.resume(plan, "p", training), training, until(stop))
    resumed, state, rest = trained(tmp_path / "broken.safetensors", 8)
    assert state.steps == 8
    for name in ("a", "b"):
        for mine, theirs in zip(
            straight.networks[name].parameters(), resumed.networks[name].parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)
    assert torch.equal(whole.averages["a"]["weight"], rest.averages["a"]["weight"])
