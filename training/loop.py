"""The training loop that every training shares: schedule, clock, averages, checkpoints, curve.

A step is told by a function that returns a loss and whose turn it is; so the same loop trains one network
or two that alternate. A run that was killed goes on from its last checkpoint as if nothing had happened:
the order of the data, the optimisers' moments, dropout's random numbers and the averages all come back.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import KouboError
from training import checkpoint, parallel

_SAVE_EVERY_S = 60.0
_REPORT_EVERY = 20
_CURVE_EVERY = 100
_SMOOTHING = 0.98
_DECAY = 0.999
_MAX_NORM = 1.0

Report = Callable[[float, dict[str, float]], None]
Batch = TypeVar("Batch")


@dataclass(slots=True)
class State:
    """How far a training is: computing seconds, steps, its loss curve as [step, loss]; filmed: whether it saw
    clips without idle pictures, whose input is masked up to the eyes.
    """

    preset: str
    seconds: float = 0.0
    steps: int = 0
    loss: float = 0.0
    curve: list[list[float]] = field(default_factory=list)
    filmed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a training keeps itself, its highest learning rate, and how long it lasts: steps or minutes.

    With `steps` the schedule depends on nothing but the step, so that a resumed run ends in the same weights.
    """

    path: Path
    rate: float
    minutes: float = 0.0
    steps: int = 0

    def progress(self, state: State) -> float:
        """Share of the plan that is done."""
        if self.steps:
            return state.steps / self.steps
        return state.seconds / (self.minutes * 60) if self.minutes > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A step's outcome: the loss, the optimiser whose turn it is, figures to tell."""

    loss: Tensor
    optimiser: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Training(Generic[Batch]):
    """Networks and optimisers by name, the step, and who is told.

    `on_save` is told (steps, batch) after each checkpoint; networks in `averaged` are kept as exponential
    moving averages too.
    """

    networks: Mapping[str, nn.Module]
    optimisers: Mapping[str, torch.optim.Optimizer]
    step: Callable[[int, Batch], Turn]
    report: Report
    averaged: tuple[str, ...] = ()
    on_save: Callable[[int, Batch], None] | None = None
    averages: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def resume(plan: Plan, preset: str, training: Training[Batch]) -> State:
    """The state of the checkpoint at plan.path, loaded into the networks; a fresh one where there is none.

    Raises KouboError when the checkpoint is damaged or of another preset.
    """
    training.averages.update({name: {} for name in training.averaged})
    if not plan.path.is_file():
        parallel.same_start(training.networks)
        for name in training.averaged:
            training.averages[name].update(_copy(training.networks[name]))
        return State(preset)
    found = checkpoint.read_state(plan.path)
    if found.get("preset") != preset:
        raise KouboError(
            f"{plan.path} is a checkpoint of another preset ({found.get('preset')}), this run is {preset}; "
            "choose another output folder."
        )
    state = State(**checkpoint.load(plan.path, training.networks, training.optimisers, training.averages))
    for name, average in training.averages.items():
        where = next(training.networks[name].parameters()).device
        average.update({key: value.to(where) for key, value in average.items()})
    return state


def run(plan: Plan, state: State, training: Training[Batch], batches: Iterator[Batch]) -> None:
    """Trains until the plan is done; cosine learning rate with a short warm-up.

    A parameter group with a "share" gets that share of the rate.
    """
    saved = mark = time.monotonic()
    while (progress := plan.progress(state)) < 1:
        batch = next(batches)
        turn = _learn(plan, state, progress, training, batch)
        now = time.monotonic()
        state.seconds, mark = parallel.agreed(state.seconds + now - mark), now
        _record(state, turn)
        _follow(training, state.steps)
        if state.steps % _REPORT_EVERY == 0:
            rate = {"steps/s": round(state.steps / state.seconds, 3)}
            training.report(plan.progress(state), {"loss": state.loss, **turn.figures, **rate})
        if parallel.agreed(float(now - saved > _SAVE_EVERY_S)):
            _save(plan, state, training)
            if training.on_save:
                training.on_save(state.steps, batch)
            saved = now
    _save(plan, state, training)


def _learn(plan: Plan, state: State, progress: float, training: Training[Batch], batch: Batch) -> Turn:
    turn = training.step(state.steps, batch)
    optimiser = training.optimisers[turn.optimiser]
    _set_rate(optimiser, plan.rate, state.steps, progress)
    for each in training.optimisers.values():
        each.zero_grad()
    turn.loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    parallel.average_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, _MAX_NORM)
    optimiser.step()
    return turn


def _save(plan: Plan, state: State, training: Training[Batch]) -> None:
    if parallel.rank() == 0:
        checkpoint.save(plan.path, training.networks, asdict(state), training.optimisers, training.averages)


def _record(state: State, turn: Turn) -> None:
    loss = turn.loss.item()
    state.loss = _SMOOTHING * state.loss + (1 - _SMOOTHING) * loss if state.steps else loss
    state.steps += 1
    if state.steps % _CURVE_EVERY == 0:
        state.curve.append([state.steps, round(state.loss, 5)])


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def _follow(training: Training[Batch], steps: int) -> None:
    """Moves the averages towards the networks, faster while the run is young."""
    decay = min(_DECAY, (1 + steps) / (10 + steps))
    with torch.no_grad():
        for name, average in training.averages.items():
            for key, value in training.networks[name].state_dict().items():
                if value.is_floating_point():
                    average[key].lerp_(value, 1 - decay)
                else:
                    average[key].copy_(value)


def _set_rate(optimiser: torch.optim.Optimizer, peak: float, steps: int, progress: float) -> None:
    warm = min(1.0, (steps + 1) / _CURVE_EVERY)
    for group in optimiser.param_groups:
        group["lr"] = (
            group.get("share", 1.0) * peak * warm * 0.5 * (1 + float(np.cos(np.pi * progress))) + 1e-6
        )
