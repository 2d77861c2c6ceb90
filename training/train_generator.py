"""Steps A and C of the curriculum: the picture from the true code, then ear and picture together.

Step A's picture is fully determined by its input, so it learns to be sharp; step B (train_ear) maps
sound to the code; step C lets the picture get used to the ear's code and the ear to its picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training import loop, parallel
from training.board import Board
from training.losses import Weights, picture_loss
from training.models.generator import Parts
from training.models.presets import Preset
from training.picture_data import Pair, PictureBatch, picture_batches
from training.speech_data import Recording, windows_of
from training.train_ear import code_loss

BATCH = 16
_PEAK_RATE = 2e-3
_JOINT_RATE = 3e-4


@dataclass(frozen=True, slots=True)
class Run:
    """Where a training keeps itself, how long it lasts, how it tells of itself."""

    output: Path
    minutes: float
    report: loop.Report
    seed: int = 0


def train_picture(preset: Preset, parts: Parts, pairs: Sequence[Pair], run: Run) -> None:
    """Step A: FaceEncoder and Decoder learn from the true code (resumes picture.safetensors)."""
    networks = {"face": parts.face, "decoder": parts.decoder}
    parameters = [p for network in networks.values() for p in network.parameters()]
    optimiser = torch.optim.AdamW(parameters, _PEAK_RATE, weight_decay=0.01)

    def step(_: int, batch: PictureBatch) -> loop.Turn:
        return loop.Turn(_loss(_paint(parts, batch, batch.code), batch), "picture")

    plan = loop.Plan(run.output / "picture.safetensors", _PEAK_RATE, run.minutes)
    _train(plan, preset, parts, networks, {"picture": optimiser}, pairs, run, step)


def train_joint(
    preset: Preset, parts: Parts, pairs: Sequence[Pair], recordings: Sequence[Recording], run: Run
) -> None:
    """Step C: all three networks; half of the pictures are painted from what the ear heard."""
    windows = {recording.name: windows_of(recording.samples) for recording in recordings}
    networks = dict(parts.named())
    optimiser = torch.optim.AdamW(
        [
            {"params": list(parts.face.parameters()) + list(parts.decoder.parameters())},
            {"params": list(parts.ear.parameters())},
        ],
        _JOINT_RATE,
        weight_decay=0.01,
    )
    heard = [pair for pair in pairs if pair.speech is None or pair.speech in windows]

    def step(number: int, batch: PictureBatch) -> loop.Turn:
        mels, listening = _hear(batch.pairs, windows, np.random.default_rng([run.seed, number]))
        # The ear's statistics come from augmented speech; clean windows must not move them.
        where = parallel.device()
        code, listening, truth = parts.ear.eval()(mels.to(where)), listening.to(where), batch.code.to(where)
        picture = _paint(parts, batch, torch.where(listening[:, None], code, truth))
        loss = _loss(picture, batch)
        if listening.any():
            loss = loss + code_loss(code[listening], truth[listening])
        return loop.Turn(loss, "joint")

    plan = loop.Plan(run.output / "joint.safetensors", _JOINT_RATE, run.minutes)
    _train(plan, preset, parts, networks, {"joint": optimiser}, heard, run, step)


def _loss(picture: Tensor, batch: PictureBatch) -> Tensor:
    target, idle, lips = (x.to(picture.device) for x in (batch.target, batch.face[:, 3:], batch.lips))
    return picture_loss(picture, target, idle, lips, Weights())


def _paint(parts: Parts, batch: PictureBatch, code: Tensor) -> Tensor:
    where = parallel.device()
    face = batch.face.to(where).contiguous(memory_format=torch.channels_last)
    with torch.autocast(where.type, torch.bfloat16):
        picture: Tensor = parts.decoder(code.to(where), parts.face(face))
    return picture.float()


def _hear(
    pairs: Sequence[Pair], windows: Mapping[str, NDArray[np.float32]], random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    mels = np.full((len(pairs), 1, 80, 16), -4.0, np.float32)
    listening = np.zeros(len(pairs), np.bool_)
    for row, pair in enumerate(pairs):
        if pair.speech is None or pair.tick is None or random.random() < 0.5:
            continue
        mels[row, 0] = windows[pair.speech][min(pair.tick, len(windows[pair.speech]) - 1)]
        listening[row] = True
    return torch.from_numpy(mels), torch.from_numpy(listening)


def _train(
    plan: loop.Plan,
    preset: Preset,
    parts: Parts,
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    pairs: Sequence[Pair],
    run: Run,
    step: Callable[[int, PictureBatch], loop.Turn],
) -> None:
    for network in networks.values():
        network.to(parallel.device())
        network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    with Board(run.output) as board:

        def show(steps: int, batch: PictureBatch) -> None:
            for network in networks.values():
                network.eval()  # a look must not move batch norm's statistics
            with torch.no_grad():
                painted = _paint(parts, batch, batch.code)
            for network in networks.values():
                network.train()
            rows = {"idle": batch.face[:, 3:], "painted": painted, "truth": batch.target}
            board.pictures(plan.path.stem, rows, steps)

        def told(number: int, batch: PictureBatch) -> loop.Turn:
            turn = step(number, batch)
            board.figures(plan.path.stem, {"loss": turn.loss.item()}, number)
            return turn

        training = loop.Training(networks, optimisers, told, run.report, tuple(networks), on_save=show)
        state = loop.resume(plan, preset.name, training)
        source = picture_batches(pairs, preset.size, BATCH, (run.seed,), state.steps)
        loop.run(plan, state, training, iter(source))
        for name, average in training.averages.items():
            networks[name].load_state_dict(average)
