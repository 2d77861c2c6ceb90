"""The steps that make a mouth, in the order that lets each start from something sure.

With rendered pairs and speech: B, the ear, and A, the picture, which do not need each other; C, both joined.
With clips, rendered or filmed: generator and discriminator by turns. Each step keeps its own checkpoint and
is skipped when it is complete, so a killed run goes on where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from engine.errors import BadMediaError
from training import checkpoint, parallel
from training.clip_data import ClipData, read_clips
from training.clips import CARD
from training.models.discriminator import Discriminator
from training.models.generator import Parts
from training.models.presets import Preset, preset
from training.perceptual import feature_space
from training.picture_data import read_pairs
from training.speech_data import read_recordings
from training.split import is_held_out_speaker
from training.sync_score import SHIPPED
from training.train_ear import score_ear, train_ear
from training.train_generator import Run, train_joint, train_picture
from training.train_together import CHECKPOINT, Duo, Recipe, TogetherRun, train_together

Tell = Callable[[str, float, dict[str, float]], None]
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Minutes:
    """Computing time of each step; `together_steps` counts turns instead of minutes."""

    ear: float
    picture: float
    joint: float
    together: float = 0.0
    together_steps: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train from what: data holds folders of pairs, clips or both; discriminator and vgg are files,
    None for the shipped discriminator and for its features; start: checkpoints to begin with.
    """

    preset: str
    data: Sequence[Path]
    speech: Sequence[Path]
    output: Path
    minutes: Minutes
    recipe: Recipe
    discriminator: Path | None = None
    vgg: Path | None = None
    start: Sequence[Path] = ()
    emphasise: Sequence[str] = ()
    seed: int = 0


def train(plan: Plan, tell: Tell, warn: Warn) -> Path:
    """Trains a generator as planned; returns the last checkpoint.

    Raises KouboError for an unknown preset, checkpoints of another one, or missing data.
    """
    size = preset(plan.preset)
    paired = [root for root in plan.data if next(root.rglob("pairs.json"), None)]
    clipped = [root for root in plan.data if next(root.rglob(CARD), None)]
    by_steps = bool(size.code and paired and plan.speech)
    if not by_steps and not clipped:
        raise BadMediaError(
            f"Nothing to train {size.name} from: give --data with clips, or with pairs and --speech too "
            "(presets with a mouth code only)."
        )
    plan.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    parts = Parts.create(size)
    for file in plan.start:
        held = {name: part for name, part in parts.named().items() if checkpoint.holds(file, name)}
        checkpoint.load_trained(file, held)
    last = plan.output / "joint.safetensors"
    if by_steps:
        _train_by_steps(plan, size, parts, paired, tell)
    if clipped and (plan.minutes.together or plan.minutes.together_steps):
        _train_by_turns(plan, size, parts, clipped, tell, warn)
        last = plan.output / CHECKPOINT
    if parallel.rank() == 0:
        plot_curves(plan.output)
    return last


def _train_by_steps(plan: Plan, size: Preset, parts: Parts, roots: Sequence[Path], tell: Tell) -> None:
    pairs = [pair for root in roots for pair in read_pairs(root, plan.emphasise)]
    train_set = read_recordings([file for file in plan.speech if not is_held_out_speaker(file)])
    held_out = read_recordings([file for file in plan.speech if is_held_out_speaker(file)])
    if plan.minutes.ear:
        ear = train_ear(
            size, train_set, plan.output,
            minutes=plan.minutes.ear, seed=plan.seed, report=_reporter(tell, "ear"),
        )  # fmt: skip
        if held_out:
            score = score_ear(ear, held_out)
            tell("ear", 1.0, {"held-out r": score.mean, "in silence": score.silence})
        parts.ear.load_state_dict(ear.state_dict())
    run = Run(plan.output, plan.minutes.picture, _reporter(tell, "picture"), plan.seed)
    train_picture(size, parts, pairs, run)
    run = Run(plan.output, plan.minutes.joint, _reporter(tell, "joint"), plan.seed)
    train_joint(size, parts, pairs, train_set, run)


def _train_by_turns(
    plan: Plan, size: Preset, parts: Parts, roots: Sequence[Path], tell: Tell, warn: Warn
) -> None:
    judge_file = plan.discriminator or SHIPPED
    judge_size = preset(checkpoint.read_state(judge_file)["preset"])
    judge = Discriminator(judge_size)
    checkpoint.load_trained(judge_file, {"discriminator": judge})
    # Features must not move while they judge, so they come from a copy that takes no turns.
    eye = Discriminator(judge_size)
    eye.load_state_dict(judge.state_dict())
    eye.requires_grad_(False).eval().to(parallel.device())
    settled = bool(plan.start) or (plan.output / "ear.safetensors").is_file()
    duo = Duo(parts, judge, judge_size.size, feature_space(eye, plan.vgg), settled)
    minutes = plan.minutes
    data = ClipData(read_clips(roots), size.size, seed=plan.seed)
    if data.filmed and size.from_idle:
        warn(
            f"{size.name} starts from an idle picture of the same pose, which filmed clips lack; presets "
            "such as seed192 and seed384 learn better from them."
        )
    train_together(
        size, duo, data, plan.recipe,
        TogetherRun(
            plan.output, _reporter(tell, "together"),
            steps=minutes.together_steps, minutes=minutes.together, seed=plan.seed,
        ),
    )  # fmt: skip


def _reporter(tell: Tell, step: str) -> Callable[[float, dict[str, float]], None]:
    return lambda share, figures: tell(step, share, figures)


def plot_curves(output: Path) -> None:
    """Draws the loss curves kept in the checkpoints of `output` as curves.png."""
    canvas = np.full((360, 640, 3), 255, np.uint8)
    for row, name in enumerate(("picture", "joint", "together")):
        path = output / f"{name}.safetensors"
        curve = checkpoint.read_state(path)["curve"] if path.is_file() else []
        if len(curve) < 2:
            continue
        steps, losses = np.array(curve).T
        x = 50 + 570 * (steps - steps[0]) / max(1.0, steps[-1] - steps[0])
        y = 20 + 300 * (losses.max() - losses) / max(1e-9, losses.max() - losses.min())
        colour = ((180, 90, 20), (20, 90, 200), (40, 140, 40))[row]
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(canvas, [points], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)
        label = f"{name}: {losses[0]:.3f} to {losses[-1]:.3f} in {int(steps[-1])} steps"
        cv2.putText(
            canvas, label, (200, 30 + 22 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA
        )
    cv2.imwrite(str(output / "curves.png"), canvas)
