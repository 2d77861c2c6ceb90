"""Generator and discriminator by turns: who moves when, what flows where, exact resumption."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import KouboError
from tests.training.footage import QUICK, TINY, talking
from tests.training.test_train_sync import assert_same_but_for_time, stop_after
from training import checkpoint, loop
from training.clip_data import ClipData, TalkBatch
from training.clips import Clip
from training.loop import Report
from training.losses import Weights
from training.models.discriminator import FRAMES, Discriminator
from training.models.generator import Parts
from training.models.presets import Preset, preset
from training.perceptual import JudgeFeatures
from training.train_together import CHECKPOINT, FULL, Duo, Recipe, TogetherRun, paint_turn, train_together

RECIPE = Recipe(Weights(0.2, 0.2, 0.2, 0.1, warm_up=0), batch=2)


def duo_of(plan: Preset, seed: int = 0) -> Duo:
    """Generator and discriminator of a seed; the features come from a file, so they are always the same."""
    torch.manual_seed(0)
    eye = Discriminator(TINY).requires_grad_(False).eval()
    torch.manual_seed(seed)
    parts, judge = Parts.create(plan), Discriminator(TINY)
    return Duo(parts, judge, TINY.size, JudgeFeatures(eye))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return talking(tmp_path_factory.mktemp("clips"), 2, 30)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return talking(tmp_path_factory.mktemp("rendered"), 2, 12, idle=True, coded=True)


def batch_of(clips: list[Clip], size: int = TINY.size) -> TalkBatch:
    return ClipData(clips, size).talk_batch(2, 3, np.random.default_rng(0))


def copies(networks: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in networks.items()}


def changed(networks: dict[str, nn.Module], before: dict[str, dict[str, Tensor]]) -> set[str]:
    """Networks of which anything changed, batch norm's statistics included."""
    return {
        name
        for name, net in networks.items()
        if any(not torch.equal(v, before[name][k]) for k, v in net.state_dict().items())
    }


def followed(clips: list[Clip], output: Path, recipe: Recipe, steps: int) -> list[set[str]]:
    """Which networks changed in each step."""
    duo = duo_of(TINY)
    networks: dict[str, nn.Module] = {**duo.parts.named(), "discriminator": duo.judge}
    before = copies(networks)
    seen: list[set[str]] = []

    def report(share: float, figures: dict[str, float]) -> None:
        nonlocal before
        seen.append(changed(networks, before))
        before = copies(networks)

    run = TogetherRun(output, report, steps=steps)
    train_together(TINY, duo, ClipData(clips, TINY.size), recipe, run)
    return seen


PAINTERS = {"face", "ear", "decoder"}


def test_they_take_turns(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even steps move the generator alone, odd ones the discriminator alone, statistics included."""
    monkeypatch.setattr(loop, "_REPORT_EVERY", 1)
    assert followed(clips, tmp_path, RECIPE, 4) == [PAINTERS, {"discriminator"}] * 2


def test_a_fixed_discriminator_never_moves(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_REPORT_EVERY", 1)
    fixed = Recipe(RECIPE.weights, alternate=False, batch=2)
    assert followed(clips, tmp_path, fixed, 3) == [PAINTERS] * 3


def test_gradients_reach_the_generator_and_not_the_judge(clips: list[Clip]) -> None:
    duo = duo_of(TINY)
    turn = paint_turn(duo, batch_of(clips), RECIPE, 10)
    turn.loss.backward()  # type: ignore[no-untyped-call]
    assert turn.optimiser == "generator"
    assert set(turn.figures) == {"picture", "sync", "perceptual"}
    for network in duo.parts.named().values():
        gradients = [p.grad for p in network.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert any(g is not None and g.abs().max() > 0 for g in gradients)
    assert all(p.grad is None for p in duo.judge.parameters())
    assert isinstance(duo.features, JudgeFeatures)
    assert not duo.judge.training


def test_the_sync_loss_alone_reaches_the_ear_and_the_decoder(clips: list[Clip]) -> None:
    duo = duo_of(TINY)
    only = Recipe(Weights(1.0, 0, 0, 0, warm_up=0), batch=2)
    paint_turn(duo, batch_of(clips), only, 5).loss.backward()  # type: ignore[no-untyped-call]
    for network in (duo.parts.ear, duo.parts.decoder):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_the_sync_loss_warms_up(clips: list[Clip]) -> None:
    batch = batch_of(clips)

    def cost(step: int) -> tuple[float, float]:
        duo = duo_of(TINY)
        recipe = Recipe(Weights(0.5, 0, 0, 0, warm_up=100), batch=2)
        turn = paint_turn(duo, batch, recipe, step)
        return turn.loss.item() - turn.figures["picture"], turn.figures["sync"]

    assert cost(0)[0] == pytest.approx(0, abs=1e-6)
    half, sync = cost(50)
    assert half == pytest.approx(0.25 * sync, rel=1e-3)
    whole, sync = cost(100)
    assert whole == pytest.approx(0.5 * sync, rel=1e-3)


def test_terms_without_a_share_are_not_computed(clips: list[Clip]) -> None:
    turn = paint_turn(duo_of(TINY), batch_of(clips), Recipe(Weights(0, 0, 0, 0), batch=2), 0)
    assert set(turn.figures) == {"picture"}
    assert turn.loss.item() == pytest.approx(turn.figures["picture"])


def test_a_larger_generator_may_be_watched_by_a_smaller_judge(tmp_path: Path) -> None:
    clips = talking(tmp_path, 2, 12, idle=True, coded=True, side=112)
    plan = preset("lite96")
    duo = duo_of(plan)
    turn = paint_turn(duo, batch_of(clips, plan.size), Recipe(FULL, batch=2), 300)
    turn.loss.backward()  # type: ignore[no-untyped-call]
    assert turn.loss.isfinite()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in duo.parts.ear.parameters())


def test_from_the_code_the_picture_does_not_hear(tmp_path: Path) -> None:
    """The ear then learns the code alone, and the picture the code that is true."""
    clips = talking(tmp_path, 2, 12, idle=True, coded=True, side=112)
    plan = preset("lite96")
    duo = duo_of(plan)
    for film in duo.parts.decoder.films.parameters():
        nn.init.normal_(film, std=0.1)
    nn.init.normal_(list(duo.parts.decoder.output.parameters())[-2], std=0.05)
    batch = batch_of(clips, plan.size)
    recipe = Recipe(Weights(0, 0, 0, 0), batch=2, source="code")
    told = paint_turn(duo, batch, recipe, 0).figures["picture"]
    batch.mel[:] = -4.0
    assert paint_turn(duo, batch, recipe, 0).figures["picture"] == pytest.approx(told, rel=1e-5)
    batch.code[:] = 1 - batch.code
    assert paint_turn(duo, batch, recipe, 0).figures["picture"] != pytest.approx(told, rel=1e-5)


def train(clips: list[Clip], output: Path, steps: int, report: Report, seed: int = 0) -> Duo:
    duo = duo_of(TINY, seed)
    train_together(TINY, duo, ClipData(clips, TINY.size), RECIPE, TogetherRun(output, report, steps=steps))
    return duo


@pytest.mark.parametrize("stop", [3, 4])
def test_stopped_and_resumed_is_bit_for_bit_the_same(
    clips: list[Clip], tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the generator's turn is next or the discriminator's."""
    monkeypatch.setattr(loop, "_REPORT_EVERY", 1)
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", -1.0)
    straight = train(clips, tmp_path / "straight", 6, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        train(clips, tmp_path / "broken", 6, stop_after(stop))
    assert checkpoint.read_state(tmp_path / "broken" / CHECKPOINT)["steps"] == stop
    # A new process starts from other weights and other chance: all must come from the checkpoint.
    resumed = train(clips, tmp_path / "broken", 6, lambda *_: None, seed=77)
    assert_same_but_for_time(tmp_path / "straight" / CHECKPOINT, tmp_path / "broken" / CHECKPOINT)
    for name, network in straight.parts.named().items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, resumed.parts.named()[name].state_dict()[key])


def test_what_is_left_are_the_averages(clips: list[Clip], tmp_path: Path) -> None:
    duo = train(clips, tmp_path, 2, lambda *_: None)
    other = Parts.create(TINY)
    checkpoint.load_trained(tmp_path / CHECKPOINT, {"decoder": other.decoder})
    for key, value in duo.parts.decoder.state_dict().items():
        assert torch.equal(value, other.decoder.state_dict()[key])


def test_pictures_to_look_at_are_kept(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", -1.0)
    train(clips, tmp_path, 1, lambda *_: None)
    assert (tmp_path / "together-000001.jpg").is_file()


def test_a_checkpoint_of_another_preset_is_refused(clips: list[Clip], tmp_path: Path) -> None:
    train(clips, tmp_path, 1, lambda *_: None)
    with pytest.raises(KouboError, match=r"another preset \(tiny\), this run is quick"):
        train_together(
            QUICK, duo_of(QUICK), ClipData(clips, QUICK.size), RECIPE,
            TogetherRun(tmp_path, lambda *_: None, steps=2),
        )  # fmt: skip


def painted_loss(recipe: Recipe, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> float:
    from training import train_together as module

    turn: Callable[[Duo, TalkBatch, Recipe], loop.Turn] = module._judge_turn
    return turn(duo_of(TINY), batch_of(clips), recipe).loss.item()


def test_painted_mouths_are_told_to_be_wrong(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    """The discriminator's loss rises by its share of what it takes for true."""
    none = painted_loss(Recipe(FULL, painted=0.0, batch=2), clips, monkeypatch)
    half = painted_loss(Recipe(FULL, painted=0.5, batch=2), clips, monkeypatch)
    whole = painted_loss(Recipe(FULL, painted=1.0, batch=2), clips, monkeypatch)
    assert none < half < whole
    assert whole - none == pytest.approx(2 * (half - none), rel=1e-3)


def test_rendered_clips_teach_the_ear_their_code(rendered: list[Clip]) -> None:
    plan = preset("lite96")
    clips = [clip for clip in rendered if clip.card.code]
    duo = duo_of(plan)
    recipe = Recipe(Weights(0, 0, 0, 0), batch=2, source="code")
    paint_turn(duo, batch_of(clips, plan.size), recipe, 0).loss.backward()  # type: ignore[no-untyped-call]
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in duo.parts.ear.parameters())


def test_one_look_at_an_idle_picture_paints_what_five_would(rendered: list[Clip]) -> None:
    from training.train_together import _painted

    plan = preset("lite96")
    parts = duo_of(plan).parts
    for network in parts.named().values():
        network.eval()
    nn.init.normal_(list(parts.decoder.output.parameters())[-2], std=0.05)
    batch = batch_of(rendered, plan.size)
    assert len(batch.face) == 2
    five = replace(batch, face=batch.face.repeat_interleave(FRAMES, dim=0))
    with torch.no_grad():
        once, each = _painted(parts, batch), _painted(parts, five)
    assert once.shape == batch.target.shape
    torch.testing.assert_close(once, each, atol=0.02, rtol=0.02)
