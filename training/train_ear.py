"""Step B of the curriculum: the audio encoder learns the mouth code from all the speech there is.

No picture is needed, so minutes on one core suffice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import KouboError
from training import loop, parallel
from training.models.audio import CodeEar
from training.models.presets import Preset
from training.speech_data import Recording, batches, codes_at, windows_of
from training.studio.visemes import VISEMES

BATCH = 256
_PEAK_RATE = 2e-3


@dataclass(frozen=True, slots=True)
class EarScore:
    """Correlation of each code channel with the truth over held-out speech, and the silence level."""

    correlation: dict[str, float]
    silence: float

    @property
    def mean(self) -> float:
        """Mean correlation over the channels that move in the truth."""
        return float(np.nanmean(list(self.correlation.values())))


SPREAD = torch.tensor([0.133, 0.1, 0.117, 0.174, 0.069, 0.124, 0.137, 0.195, 0.158, 0.105, 0.268, 0.093])
"""Standard deviation of each channel of the code in English speech, so that rare shapes count too."""


def code_loss(code: Tensor, truth: Tensor) -> Tensor:
    """Squared error in units of each channel's variance (with a floor); 1 is what a constant guess costs.

    Closures (p, b, m, f, v) count double: a lip that does not meet is seen at once.
    """
    weight = 1 / (SPREAD.to(code.device) ** 2 + 0.003)
    weight[[VISEMES.index("MPB"), VISEMES.index("FV")]] *= 2.0
    return ((code - truth) ** 2 * weight).mean()


def train_ear(
    preset: Preset,
    train: Sequence[Recording],
    output: Path,
    *,
    minutes: float,
    seed: int = 0,
    report: loop.Report,
) -> CodeEar:
    """Trains for `minutes` of computing, resuming `output`/ear.safetensors where there is one.

    Raises KouboError for a preset without a code or a checkpoint of another one.
    """
    if not preset.code:
        raise KouboError(
            f"{preset.name} has no mouth code, so its ear cannot be trained alone; train it from clips."
        )
    torch.manual_seed(seed)
    where = parallel.device()
    ear = CodeEar(preset.ear).to(where)
    optimiser = torch.optim.AdamW(ear.parameters(), _PEAK_RATE, weight_decay=0.02)
    plan = loop.Plan(output / "ear.safetensors", _PEAK_RATE, minutes)

    def step(_: int, batch: tuple[Tensor, Tensor]) -> loop.Turn:
        mel, truth = (tensor.to(where) for tensor in batch)
        return loop.Turn(code_loss(ear.train()(mel), truth), "ear")

    training = loop.Training({"ear": ear}, {"ear": optimiser}, step, report)
    state = loop.resume(plan, preset.name, training)
    source = batches(train, np.random.default_rng([seed, state.steps]), BATCH)
    loop.run(plan, state, training, source)
    return ear


def score_ear(ear: nn.Module, recordings: Sequence[Recording]) -> EarScore:
    """Judges the ear on clean recordings of speakers it never heard, and on digital silence."""
    ear.eval()
    where = next(ear.parameters()).device
    codes, truths = [], []
    with torch.no_grad():
        for recording in recordings:
            windows = windows_of(recording.samples)
            codes.append(ear(torch.from_numpy(windows[:, None]).to(where)).cpu().numpy())
            truths.append(codes_at(recording.curves, len(windows)))
        silence = ear(torch.full((1, 1, 80, 16), -4.0, device=where))
    code, truth = np.concatenate(codes), np.concatenate(truths)
    correlation = {name: float(np.corrcoef(code[:, c], truth[:, c])[0, 1]) for c, name in enumerate(VISEMES)}
    return EarScore(correlation, float(silence.max()))
