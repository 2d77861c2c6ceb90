import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import BadMediaError, KouboError
from tests.training.footage import talking, use_presets
from tests.training.test_score_clips import DarkTracker
from training import ablation, checkpoint
from training.ablation import CURRICULUM, LOSSES, RESULT, SUITES, SWEEP, Suite, Variant, run_suite
from training.losses import Weights
from training.models.discriminator import Discriminator
from training.models.presets import preset
from training.score_clips import score_clips
from training.train_together import Recipe

VARIANTS = (
    Variant("L1 only", Recipe(Weights(0, 0, 0, 0), alternate=False, batch=2), "tiny"),
    Variant("full (alternating)", Recipe(Weights(0.1, 0.1, 0.1, 0), batch=2), "tiny"),
)


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    use_presets(monkeypatch, tmp_path / "presets")
    talking(tmp_path / "data", 1, 14)
    talking(tmp_path / "held", 1, 14)
    torch.manual_seed(0)
    judge = tmp_path / "sync.safetensors"
    checkpoint.save(judge, {"discriminator": Discriminator(preset("tiny"))}, {"preset": "tiny"})
    return Suite(VARIANTS, range(2), 2, [tmp_path / "data"], [tmp_path / "held"], judge, tmp_path / "out")


def run(suite: Suite) -> tuple[Path, list[str]]:
    told: list[str] = []
    report = run_suite(suite, DarkTracker, lambda label, share, figures: told.append(label))
    return report, told


def test_every_variant_and_seed_is_scored_once(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import loop

    monkeypatch.setattr(loop, "_REPORT_EVERY", 1)
    report, told = run(suite)
    results = sorted(path.relative_to(suite.output).as_posix() for path in suite.output.rglob(RESULT))
    assert results == [
        f"{slug}/seed{s}/{RESULT}" for slug in ("full--alternating", "l1-only") for s in (0, 1)
    ]
    assert {label.split(" ", 1)[0] for label in told} == {"1/4", "2/4", "3/4", "4/4"}
    text = report.read_text(encoding="utf-8")
    assert "| L1 only |" in text
    assert "±" in text
    rows = json.loads((suite.output / "ablation.json").read_text())
    assert {row["variant"] for row in rows} == {"L1 only", "full (alternating)"}
    assert all(row["seeds"] == 2 for row in rows)
    # The generator gets as many turns in either way of training.
    steps = {
        slug: checkpoint.read_state(suite.output / slug / "seed0" / "together.safetensors")["steps"]
        for slug in ("l1-only", "full--alternating")
    }
    assert steps == {"l1-only": 2, "full--alternating": 4}
    again, told = run(suite)
    assert told == []
    assert again.read_text(encoding="utf-8") == text


def test_a_killed_suite_goes_on(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    inner = score_clips

    def stopping(*arguments: Any) -> Any:
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(1)
        return inner(*arguments)

    monkeypatch.setattr(ablation, "score_clips", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(suite)
    kept = {path: path.stat().st_mtime_ns for path in suite.output.rglob(RESULT)}
    assert len(kept) == 2
    assert not list(suite.output.rglob("*.part"))
    monkeypatch.setattr(ablation, "score_clips", inner)
    run(suite)
    assert len(list(suite.output.rglob(RESULT))) == 4
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_no_clips_and_no_discriminator_are_told(suite: Suite, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(BadMediaError, match="no clips"):
        run(replace(suite, held_out=[tmp_path / "none"]))
    with pytest.raises(KouboError, match="no checkpoint"):
        run(replace(suite, discriminator=tmp_path / "none.safetensors"))


def test_the_loss_suite_adds_one_term_at_a_time() -> None:
    weights = [variant.recipe.weights for variant in LOSSES]
    assert [sum(share > 0 for share in (w.sync, w.perceptual, w.ms_ssim)) for w in weights] == [0, 1, 2, 3, 3]
    assert [v.recipe.alternate for v in LOSSES] == [False] * 4 + [True]
    assert LOSSES[-1].recipe.weights == LOSSES[-2].recipe.weights
    assert all(v.recipe.weights.gradient == 0 for v in LOSSES)


def test_the_curriculum_suite_differs_in_nothing_else() -> None:
    plain, steps = CURRICULUM
    assert (plain.recipe, plain.preset) == (steps.recipe, steps.preset)
    assert (plain.curriculum, steps.curriculum) == (False, True)
    assert preset(plain.preset).code


def test_the_sweep_changes_one_share_at_a_time() -> None:
    full = LOSSES[-1].recipe.weights
    for variant in SWEEP:
        ours = variant.recipe.weights
        same = [getattr(ours, name) == getattr(full, name) for name in ("sync", "perceptual", "ms_ssim")]
        assert same.count(False) <= 1
    for variants in SUITES.values():
        assert len({variant.name for variant in variants}) == len(variants)


def test_gains_are_taken_seed_by_seed(suite: Suite) -> None:
    for variant, values in (("l1-only", (0.5, 0.7)), ("full--alternating", (0.53, 0.75))):
        for seed, value in enumerate(values):
            folder = suite.output / variant / f"seed{seed}"
            folder.mkdir(parents=True)
            score = {"psnr": 20.0, "sharpness": value, "jaw_r": 0.4, "swapped_jaw_r": 0.0}
            (folder / RESULT).write_text(json.dumps(score))
    report = ablation.write_report(suite).read_text(encoding="utf-8")
    first, full = json.loads((suite.output / "ablation.json").read_text())
    assert (first["sharpness"], first["sharpness_gain"]) == (0.6, 0.0)
    # Seeds stray by 0.14, the gain only by 0.014.
    assert (full["sharpness_gain"], full["sharpness_gain_sd"]) == (0.04, 0.014)
    assert "| 0.04 ± 0.014 |" in report


def test_variants_of_a_seed_share_their_base(suite: Suite) -> None:
    run(replace(suite, seeds=[0], base_steps=2))
    base = suite.output / "base" / "tiny-seed0" / "together.safetensors"
    assert checkpoint.read_state(base)["steps"] == 2
    assert len(list(suite.output.rglob(RESULT))) == 2
