"""The training loop that every step of the curriculum shares: schedule, clock, checkpoints, curve."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from training import checkpoint

_SAVE_EVERY_S = 120.0
_REPORT_EVERY = 20
_CURVE_EVERY = 100
_SMOOTHING = 0.98

Report = Callable[[float, dict[str, float]], None]
Batch = TypeVar("Batch")


@dataclass(slots=True)
class State:
    """How far a training is: computing seconds, steps, and its loss curve as [step, loss]."""

    preset: str
    seconds: float = 0.0
    steps: int = 0
    loss: float = 0.0
    curve: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a training keeps itself, how long it lasts, its highest learning rate."""

    path: Path
    minutes: float
    rate: float


def resume(
    plan: Plan, preset: str, networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> State:
    """The state of the checkpoint at plan.path, loaded into the networks; a fresh one where there is none."""
    if not plan.path.is_file():
        return State(preset)
    return State(**checkpoint.load(plan.path, networks, optimiser))


def run(
    plan: Plan,
    state: State,
    networks: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    batches: Iterator[Batch],
    step: Callable[[Batch], Tensor],
    report: Report,
    on_save: Callable[[int, Batch], None] | None = None,
) -> None:
    """Trains until plan.minutes of computing are used; cosine learning rate with a short warm-up.

    `step` returns a batch's loss. `on_save` is told (steps, batch) after each checkpoint.
    """
    saved = mark = time.monotonic()
    limit = plan.minutes * 60
    while state.seconds < limit:
        batch = next(batches)
        _set_rate(optimiser, plan.rate, state.steps, state.seconds / limit)
        loss = step(batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 1.0)
        optimiser.step()
        now = time.monotonic()
        state.seconds, mark = state.seconds + now - mark, now
        _record(state, loss.item())
        if state.steps % _REPORT_EVERY == 0:
            report(state.seconds / limit, {"loss": state.loss, "steps/s": state.steps / state.seconds})
        if now - saved > _SAVE_EVERY_S:
            checkpoint.save(plan.path, networks, asdict(state), optimiser)
            if on_save:
                on_save(state.steps, batch)
            saved = now
    checkpoint.save(plan.path, networks, asdict(state), optimiser)


def _record(state: State, loss: float) -> None:
    state.loss = _SMOOTHING * state.loss + (1 - _SMOOTHING) * loss if state.steps else loss
    state.steps += 1
    if state.steps % _CURVE_EVERY == 0:
        state.curve.append([state.steps, round(state.loss, 5)])


def _set_rate(optimiser: torch.optim.Optimizer, peak: float, steps: int, progress: float) -> None:
    warm = min(1.0, (steps + 1) / _CURVE_EVERY)
    for group in optimiser.param_groups:
        group["lr"] = peak * warm * 0.5 * (1 + float(np.cos(np.pi * progress))) + 1e-6
