"""Steps A and C of the curriculum: the picture from the true code, then ear and picture together.

Step A's picture is fully determined by its input, so it learns to be sharp; step B (train_ear) maps
sound to the code; step C lets the picture get used to the ear's code and the ear to its picture.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import checkpoint
from training.losses import Weights, picture_loss
from training.models.generator import Parts
from training.models.presets import Preset
from training.picture_data import Pair, PictureBatch, PictureLoader
from training.speech_data import Recording, windows_of
from training.train_ear import code_loss

BATCH = 16
_PEAK_RATE = 2e-3
_JOINT_RATE = 3e-4
_SAVE_EVERY_S = 120.0

Report = Callable[[float, dict[str, float]], None]
Samples = Callable[[int, Tensor, Tensor, Tensor], None]
"""Called now and then with (step, idle, generated, target) pictures to look at."""


@dataclass(frozen=True, slots=True)
class Run:
    """Where a training keeps itself, how long it lasts, how it tells of itself."""

    output: Path
    minutes: float
    report: Report
    samples: Samples
    seed: int = 0


def train_picture(preset: Preset, parts: Parts, pairs: Sequence[Pair], run: Run) -> None:
    """Step A: FaceEncoder and Decoder learn from the true code (resumes picture.safetensors)."""
    networks = {"face": parts.face, "decoder": parts.decoder}
    parameters = [p for network in networks.values() for p in network.parameters()]
    optimiser = torch.optim.AdamW(parameters, _PEAK_RATE, weight_decay=0.01)

    def step(batch: PictureBatch) -> tuple[Tensor, Tensor]:
        picture = _paint(parts, batch, batch.code)
        return picture_loss(picture, batch.target, batch.lips, Weights()), picture

    _loop("picture", preset, networks, optimiser, pairs, run, step, _PEAK_RATE)


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
    random = np.random.default_rng(run.seed)
    heard = [pair for pair in pairs if pair.speech is None or pair.speech in windows]

    def step(batch: PictureBatch) -> tuple[Tensor, Tensor]:
        mels, listening = _hear(batch.pairs, windows, random)
        # The ear's statistics come from augmented speech; clean windows must not move them.
        code = parts.ear.eval()(mels)
        mixed = torch.where(listening[:, None], code, batch.code)
        picture = _paint(parts, batch, mixed)
        loss = picture_loss(picture, batch.target, batch.lips, Weights())
        ear_loss = code_loss(code[listening], batch.code[listening]) if listening.any() else loss.new_zeros(())
        return loss + ear_loss, picture

    _loop("joint", preset, networks, optimiser, heard, run, step, _JOINT_RATE)


def _paint(parts: Parts, batch: PictureBatch, code: Tensor) -> Tensor:
    face = batch.face.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        picture: Tensor = parts.decoder(code, parts.face(face))
    return picture.float()


def _hear(
    pairs: Sequence[Pair], windows: Mapping[str, np.ndarray], random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    mels = np.full((len(pairs), 1, 80, 16), -4.0, np.float32)
    listening = np.zeros(len(pairs), np.bool_)
    for row, pair in enumerate(pairs):
        if pair.speech is None or pair.tick is None or random.random() < 0.5:
            continue
        mels[row, 0] = windows[pair.speech][min(pair.tick, len(windows[pair.speech]) - 1)]
        listening[row] = True
    return torch.from_numpy(mels), torch.from_numpy(listening)


def _loop(
    name: str,
    preset: Preset,
    networks: Mapping[str, torch.nn.Module],
    optimiser: torch.optim.Optimizer,
    pairs: Sequence[Pair],
    run: Run,
    step: Callable[[PictureBatch], tuple[Tensor, Tensor]],
    rate: float,
) -> None:
    path = run.output / f"{name}.safetensors"
    state = {"preset": preset.name, "seconds": 0.0, "steps": 0, "curve": []}
    if path.is_file():
        state = checkpoint.load(path, networks, optimiser)
    for network in networks.values():
        network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    loader = iter(PictureLoader(pairs, preset.size, BATCH, (run.seed, state["steps"])))
    saved = mark = time.monotonic()
    running = 0.0
    while state["seconds"] < run.minutes * 60:
        batch = next(loader)
        progress = state["seconds"] / (run.minutes * 60)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (state["steps"] + 1) / 100) * 0.5 * (1 + np.cos(np.pi * progress)) + 1e-6
        loss, picture = step(batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 1.0)
        optimiser.step()
        now = time.monotonic()
        state["seconds"] += now - mark
        state["steps"] += 1
        mark = now
        running = 0.98 * running + 0.02 * loss.item() if running else loss.item()
        if state["steps"] % 20 == 0:
            run.report(progress, {"loss": running, "pictures/s": BATCH * state["steps"] / state["seconds"]})
        if state["steps"] % 100 == 0:
            state["curve"].append([state["steps"], round(running, 5)])
        if now - saved > _SAVE_EVERY_S:
            run.samples(state["steps"], batch.face[:, 3:], picture.detach(), batch.target)
            checkpoint.save(path, networks, state, optimiser)
            saved = now
    checkpoint.save(path, networks, state, optimiser)
    run.report(1.0, {"loss": running})
