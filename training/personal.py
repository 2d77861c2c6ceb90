"""A mouth adapted to one person, from their own speech: what `koubo avatar train` runs.

The same losses and the same turns of generator and discriminator as any training on clips
(training.train_together). Three things differ: it starts from the mouth that the avatar has
(training.exported); its clips are the person's own over the avatar's own resting faces
(training.personal_data); and the ear, which has heard hundreds of speakers, does not learn from this one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.errors import KouboError
from training import checkpoint, loop, parallel
from training.clip_data import ClipData, read_clips
from training.exported import load_exported, settle
from training.losses import Weights
from training.models.discriminator import Discriminator
from training.models.presets import preset
from training.perceptual import feature_space
from training.personal_codes import fit_codes
from training.sync_score import SHIPPED
from training.train_together import CHECKPOINT, Duo, Recipe, TogetherRun, train_together
from training.variation import draw_steady

RECIPE = Recipe(
    Weights(sync=0.05, perceptual=0.3, ms_ssim=0.15, gradient=0.3, warm_up=60),
    rate=4e-4,
    batch=2,
    source="code",
    ear=False,
)
"""With gradients, for what is missing is this person's texture. Painted from the code that the lips show:
from the sound, openings shrink and blur by all that the ear leaves open (docs/training.md)."""

GPU_MINUTES, CPU_MINUTES = 20.0, 480.0


def default_minutes() -> float:
    """A coffee on a GPU, a night on a processor."""
    return GPU_MINUTES if torch.cuda.is_available() else CPU_MINUTES


@dataclass(frozen=True, slots=True)
class PersonalRun:
    """Where a training keeps itself, how long it lasts, whom it tells; fitting is told of the step before it
    (personal_codes); steps: turns instead of minutes.
    """

    output: Path
    minutes: float
    report: loop.Report
    fitting: Callable[[int, int], None] | None = None
    steps: int = 0
    seed: int = 0


def train_personal(mouth: Path, clips: Path, run: PersonalRun, recipe: Recipe = RECIPE) -> Path:
    """Trains the mouth in the folder `mouth` on from the clips below `clips`; returns the checkpoint.

    Resumes run.output. Raises KouboError for a mouth that cannot be trained on, or whose preset does not
    start from the idle picture.
    """
    size, parts = load_exported(mouth)
    if not (size.from_idle and size.code):
        raise KouboError(
            f"The mouth of this avatar is of the preset {size.name}, which does not start from the resting "
            "face, so it cannot be adapted to a person; create the avatar with a mouth of lite192 or live384."
        )
    fit_codes([clips], parts, size.size, run.fitting)
    judge_size = preset(checkpoint.read_state(SHIPPED)["preset"])
    judge, eye = Discriminator(judge_size), Discriminator(judge_size)
    for network in (judge, eye):
        checkpoint.load_trained(SHIPPED, {"discriminator": network})
    eye.requires_grad_(False).eval().to(parallel.device())
    duo = Duo(parts, judge, judge_size.size, feature_space(eye, None), settled_ear=True)
    for part in parts.named().values():
        settle(part)
    data = ClipData(read_clips([clips]), size.size, seed=run.seed, camera=draw_steady)
    train_together(
        size, duo, data, recipe,
        TogetherRun(run.output, run.report, steps=run.steps, minutes=run.minutes, seed=run.seed),
    )  # fmt: skip
    return run.output / CHECKPOINT
