"""The three steps that make a mouth, in the order that lets each start from something sure.

B, the ear, and A, the picture, do not need each other; C joins them. Each step keeps its own
checkpoint and is skipped when it is complete, so a killed run goes on where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from training import checkpoint
from training.models.generator import Parts
from training.models.presets import preset
from training.picture_data import read_pairs
from training.speech_data import read_recordings
from training.split import is_held_out_speaker
from training.train_ear import score_ear, train_ear
from training.train_generator import Run, train_joint, train_picture

Tell = Callable[[str, float, dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Minutes:
    """Computing time of each step."""

    ear: float
    picture: float
    joint: float


def train(
    preset_name: str,
    data: Path,
    speech: Sequence[Path],
    output: Path,
    minutes: Minutes,
    *,
    emphasise: Sequence[str] = (),
    seed: int,
    tell: Tell,
) -> Path:
    """Trains a generator on rendered pairs and recordings; returns the final checkpoint.

    Raises KouboError for an unknown preset, checkpoints of another one, or missing data.
    """
    plan = preset(preset_name)
    pairs = read_pairs(data, emphasise)
    train_set = read_recordings([file for file in speech if not is_held_out_speaker(file)])
    held_out = read_recordings([file for file in speech if is_held_out_speaker(file)])
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    parts = Parts.create(plan)

    def reporter(step: str) -> Callable[[float, dict[str, float]], None]:
        return lambda share, figures: tell(step, share, figures)

    ear = train_ear(plan, train_set, output, minutes=minutes.ear, seed=seed, report=reporter("ear"))
    score = score_ear(ear, held_out)
    tell("ear", 1.0, {"held-out r": score.mean, "in silence": score.silence})
    parts.ear.load_state_dict(ear.state_dict())
    run = Run(output, minutes.picture, reporter("picture"), seed)
    train_picture(plan, parts, pairs, run)
    run = replace(run, minutes=minutes.joint, report=reporter("joint"))
    train_joint(plan, parts, pairs, train_set, run)
    plot_curves(output)
    return output / "joint.safetensors"


def plot_curves(output: Path) -> None:
    """Draws the loss curves kept in the checkpoints of `output` as curves.png."""
    canvas = np.full((360, 640, 3), 255, np.uint8)
    for row, name in enumerate(("picture", "joint")):
        path = output / f"{name}.safetensors"
        curve = checkpoint.read_state(path)["curve"] if path.is_file() else []
        if len(curve) < 2:
            continue
        steps, losses = np.array(curve).T
        x = 50 + 570 * (steps - steps[0]) / max(1.0, steps[-1] - steps[0])
        y = 20 + 300 * (losses.max() - losses) / max(1e-9, losses.max() - losses.min())
        colour = ((180, 90, 20), (20, 90, 200))[row]
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(canvas, [points], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA)
        label = f"{name}: {losses[0]:.3f} to {losses[-1]:.3f} in {int(steps[-1])} steps"
        cv2.putText(
            canvas, label, (200, 30 + 22 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA
        )
    cv2.imwrite(str(output / "curves.png"), canvas)
