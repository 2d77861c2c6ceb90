"""Step B of the curriculum: the audio encoder learns the mouth code from all the speech there is.

No picture is needed, so minutes on one core suffice.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import checkpoint
from training.models.generator import Ear
from training.models.presets import Preset
from training.speech_data import Recording, batches, codes_at, windows_of
from training.studio.visemes import VISEMES

BATCH = 256
_PEAK_RATE = 2e-3
_SAVE_EVERY_S = 60.0

Report = Callable[[float, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class EarScore:
    """Correlation of each code channel with the truth over held-out speech, and the silence level."""

    correlation: dict[str, float]
    silence: float

    @property
    def mean(self) -> float:
        """Mean correlation over the channels."""
        return float(np.mean(list(self.correlation.values())))


def code_loss(code: Tensor, truth: Tensor) -> Tensor:
    """Squared error, closures (p, b, m, f, v) counted double: a lip that does not meet is seen at once."""
    weight = torch.ones(truth.shape[1])
    weight[[VISEMES.index("MPB"), VISEMES.index("FV")]] = 2.0
    return ((code - truth) ** 2 * weight).mean()


def train_ear(
    preset: Preset,
    train: Sequence[Recording],
    held_out: Sequence[Recording],
    output: Path,
    *,
    minutes: float,
    seed: int = 0,
    report: Report,
) -> Ear:
    """Trains for `minutes` of computing, resuming `output`/ear.safetensors where there is one."""
    torch.manual_seed(seed)
    ear = Ear(preset)
    optimiser = torch.optim.AdamW(ear.parameters(), _PEAK_RATE, weight_decay=0.02)
    path = output / "ear.safetensors"
    state = {"preset": preset.name, "seconds": 0.0, "steps": 0}
    if path.is_file():
        state = checkpoint.load(path, {"ear": ear}, optimiser)
    source = batches(train, np.random.default_rng([seed, state["steps"]]), BATCH)
    saved, mark, running = time.monotonic(), time.monotonic(), 0.0
    while state["seconds"] < minutes * 60:
        mel, truth = next(source)
        progress = state["seconds"] / (minutes * 60)
        for group in optimiser.param_groups:
            group["lr"] = _PEAK_RATE * min(1.0, state["steps"] / 50) * 0.5 * (1 + np.cos(np.pi * progress)) + 1e-6
        loss = code_loss(ear.train()(mel), truth)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        now = time.monotonic()
        state["seconds"] += now - mark
        state["steps"] += 1
        mark = now
        running = 0.98 * running + 0.02 * loss.item() if running else loss.item()
        if state["steps"] % 20 == 0:
            report(progress, {"loss": running})
        if now - saved > _SAVE_EVERY_S:
            checkpoint.save(path, {"ear": ear}, state, optimiser)
            saved = now
    score = score_ear(ear, held_out)
    state["held_out"] = {"correlation": score.correlation, "silence": score.silence}
    checkpoint.save(path, {"ear": ear}, state, optimiser)
    report(1.0, {"loss": running, "held-out r": score.mean, "silence": score.silence})
    return ear


def score_ear(ear: Ear, recordings: Sequence[Recording]) -> EarScore:
    """Judges the ear on clean recordings of speakers it never heard, and on digital silence."""
    ear.eval()
    codes, truths = [], []
    with torch.no_grad():
        for recording in recordings:
            windows = windows_of(recording.samples)
            codes.append(ear(torch.from_numpy(windows[:, None])).numpy())
            truths.append(codes_at(recording.curves, len(windows)))
        silence = ear(torch.full((1, 1, 80, 16), -4.0))
    code, truth = np.concatenate(codes), np.concatenate(truths)
    correlation = {
        name: float(np.corrcoef(code[:, c], truth[:, c])[0, 1]) for c, name in enumerate(VISEMES)
    }
    return EarScore(correlation, float(silence.max()))
