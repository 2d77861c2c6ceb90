"""Which part of the recipe does what: the same network, data and steps, one thing changed at a time.

Small networks (seed96, lite96) show in minutes what the large ones would in days: whether a term helps. Every
run keeps its own folder and is skipped when its result is there, so a killed suite goes on.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training import checkpoint, parallel
from training.clip_data import ClipData, read_clips
from training.clips import Clip
from training.losses import Weights
from training.models.discriminator import Discriminator
from training.models.generator import Parts
from training.models.presets import preset
from training.perceptual import JudgeFeatures
from training.score_clips import OpenTracker, score_clips
from training.train_together import FULL, Duo, Recipe, TogetherRun, train_together

Tell = Callable[[str, float, dict[str, float]], None]
RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to train: preset, recipe, and whether by the three steps of the curriculum."""

    name: str
    recipe: Recipe
    preset: str = "seed96"
    curriculum: bool = False


def _recipe(sync: float, perceptual: float, ms_ssim: float, *, alternate: bool = False) -> Recipe:
    return Recipe(Weights(sync, perceptual, ms_ssim, gradient=0.0), alternate=alternate, rate=1e-3)


_APART = 1000  # from the seed of the base, so that what comes after it sees other batches

_L1 = _recipe(0, 0, 0)
_FULL = Recipe(FULL, rate=1e-3)

LOSSES = (
    Variant("L1 only", _L1),
    Variant("+ sync", _recipe(0.1, 0, 0)),
    Variant("+ perceptual", _recipe(0.1, 0.4, 0)),
    Variant("+ MS-SSIM (fixed)", _recipe(0.1, 0.4, 0.3)),
    Variant("full (alternating)", _FULL),
)
"""The seed's terms, one after the other; the last two differ only in the discriminator's turns."""

CURRICULUM = (
    Variant("end to end", _FULL, "lite96"),
    Variant("three steps", _FULL, "lite96", curriculum=True),
)
"""The same network with a mouth code, trained at once or by the three steps; rendered clips only."""

SWEEP = tuple(
    Variant(f"sync {a:g}, perceptual {b:g}, ms-ssim {c:g}", _recipe(a, b, c, alternate=True))
    for a, b, c in (
        (0.03, 0.4, 0.3),
        (0.1, 0.4, 0.3),
        (0.25, 0.4, 0.3),
        (0.1, 0.15, 0.3),
        (0.1, 0.6, 0.3),
        (0.1, 0.4, 0.1),
        (0.1, 0.4, 0.5),
    )
)
"""Each share lower and higher than in the full recipe, the others as they are."""

SUITES = {"losses": LOSSES, "curriculum": CURRICULUM, "sweep": SWEEP}


@dataclass(frozen=True, slots=True)
class Suite:
    """What is compared: variants and seeds on the same data; steps count the generator's turns.

    base_steps: all variants of a seed go on from the same network, trained so long with L1 alone, as the sync
    and feature terms say little about a picture that is no mouth yet; 0: every variant from nothing.
    """

    variants: Sequence[Variant]
    seeds: Sequence[int]
    steps: int
    data: Sequence[Path]
    held_out: Sequence[Path]
    discriminator: Path
    output: Path
    base_steps: int = 0


def run_suite(suite: Suite, tracker: OpenTracker, tell: Tell) -> Path:
    """Trains and scores every variant with every seed; returns the report.

    Raises KouboError for an unusable discriminator, BadMediaError for no clips.
    """
    clips, held_out = read_clips(suite.data), read_clips(suite.held_out)
    runs = _order(suite)
    for number, (variant, seed) in enumerate(runs, start=1):
        folder = _folder(suite, variant, seed)
        if (folder / RESULT).is_file():
            continue
        label = f"{number}/{len(runs)} {variant.name}, seed {seed}"

        def report(share: float, figures: dict[str, float], label: str = label) -> None:
            tell(label, share, figures)

        parts = _train(variant, suite, clips, seed, folder, report)
        score = score_clips(parts, preset(variant.preset).size, held_out, tracker)
        partial = folder / "result.part"
        content = {"variant": variant.name, "seed": seed, "steps": suite.steps, **asdict(score)}
        partial.write_text(json.dumps(content, indent=2) + "\n")
        partial.replace(folder / RESULT)
        write_report(suite)
    return write_report(suite)


def _order(suite: Suite) -> list[tuple[Variant, int]]:
    """First and last variant with every seed first: what matters most is known soonest."""
    first, *middle, last = suite.variants
    ends = [(variant, seed) for seed in suite.seeds for variant in (first, last)]
    return ends + [(variant, seed) for seed in suite.seeds for variant in middle]


def _folder(suite: Suite, variant: Variant, seed: int) -> Path:
    return suite.output / _slug(variant.name) / f"seed{seed}"


def _train(
    variant: Variant,
    suite: Suite,
    clips: Sequence[Clip],
    seed: int,
    folder: Path,
    report: Callable[[float, dict[str, float]], None],
) -> Parts:
    size = preset(variant.preset)
    judge_size = preset(checkpoint.read_state(suite.discriminator)["preset"])
    judge, eye = Discriminator(judge_size), Discriminator(judge_size)
    for each in (judge, eye):
        checkpoint.load_trained(suite.discriminator, {"discriminator": each})
    eye.requires_grad_(False).eval().to(parallel.device())
    torch.manual_seed(seed)
    parts = Parts.create(size)
    duo = Duo(parts, judge, judge_size.size, JudgeFeatures(eye))
    data = ClipData(clips, size.size, seed=seed)
    if suite.base_steps and not variant.curriculum:
        base = TogetherRun(
            suite.output / "base" / f"{size.name}-seed{seed}", report, steps=suite.base_steps, seed=seed
        )
        train_together(size, duo, data, _L1, base)
        seed += _APART
    recipe = variant.recipe
    if variant.curriculum:
        half = TogetherRun(folder / "from-code", report, steps=suite.steps // 2, seed=seed)
        plain = replace(recipe, alternate=False, source="code", weights=replace(recipe.weights, sync=0.0))
        train_together(size, duo, data, plain, half)
        steps = suite.steps - suite.steps // 2
    else:
        steps = suite.steps
    turns = 2 * steps if recipe.alternate else steps
    train_together(size, duo, data, recipe, TogetherRun(folder, report, steps=turns, seed=seed))
    for network in parts.named().values():
        network.eval()
    return parts


def write_report(suite: Suite) -> Path:
    """ablation.json and ablation.md: what every variant reached so far, and its gain over the first one.

    Differences are taken seed by seed, as runs of one seed share their start: mean and standard deviation.
    """
    base = _results(suite, suite.variants[0])
    rows: list[dict[str, Any]] = []
    for variant in suite.variants:
        results = _results(suite, variant)
        if not results:
            continue
        row: dict[str, Any] = {"variant": variant.name, "seeds": len(results), "steps": suite.steps}
        for key in _COLUMNS:
            row[key], row[f"{key}_sd"] = _spread([result[key] for result in results.values()])
            both = [results[seed][key] - base[seed][key] for seed in results if seed in base]
            row[f"{key}_gain"], row[f"{key}_gain_sd"] = _spread(both)
        rows.append(row)
    (suite.output / "ablation.json").write_text(json.dumps(rows, indent=2) + "\n")
    head = "| variant | seeds | mouth PSNR | sharpness | gain | jaw r | gain | jaw r, wrong sound |\n"
    lines = [head, "| --- " * 8 + "|\n"]
    for row in rows:
        cells = [_cell(row, key) for key in ("psnr", "sharpness", "sharpness_gain", "jaw_r", "jaw_r_gain")]
        cells.append(_cell(row, "swapped_jaw_r"))
        lines.append(f"| {row['variant']} | {row['seeds']} | " + " | ".join(cells) + " |\n")
    report = suite.output / "ablation.md"
    report.write_text("".join(lines), encoding="utf-8")
    return report


_COLUMNS = ("psnr", "sharpness", "jaw_r", "swapped_jaw_r")


def _results(suite: Suite, variant: Variant) -> dict[int, dict[str, Any]]:
    """Finished runs of a variant by seed."""
    files = {seed: _folder(suite, variant, seed) / RESULT for seed in suite.seeds}
    return {seed: json.loads(file.read_text()) for seed, file in files.items() if file.is_file()}


def _spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation, the latter of two values or more."""
    if not values:
        return None, None
    deviation = round(float(np.std(values, ddof=1)), 3) if len(values) > 1 else None
    return round(float(np.mean(values)), 3), deviation


def _cell(row: dict[str, Any], key: str) -> str:
    mean, deviation = row[key], row[f"{key}_sd"]
    return "" if mean is None else f"{mean}" if deviation is None else f"{mean} ± {deviation}"


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "-" for char in name).strip("-").lower()
