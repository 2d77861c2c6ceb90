"""Generator and discriminator by turns: one iteration each, the other one frozen.

The discriminator comes pre-trained on true footage (training.train_sync). While the generator learns it
stands still and says whether the painted mouth fits the sound; while it learns itself it sees true footage
with right and wrong sound, and painted mouths, which it must not take for true ones.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from training import loop, parallel
from training.board import Board
from training.clip_data import ClipData, SyncBatch, TalkBatch
from training.loader import Ahead
from training.losses import Weights, feature_loss, picture_loss, sync_loss
from training.models.audio import CodeEar
from training.models.discriminator import FRAMES, Discriminator, stack_frames
from training.models.generator import Parts
from training.models.presets import Preset
from training.perceptual import FeatureSpace
from training.train_ear import code_loss
from training.train_sync import SOUNDS, judge_batch

CHECKPOINT = "together.safetensors"

_JUDGE_RATE = 0.3
"""The discriminator's learning rate over the generator's: it must not run away."""

_CODE_SHARE = 0.1


Source = Literal["sound", "code"]

FULL = Weights(sync=0.1, perceptual=0.4, ms_ssim=0.3, gradient=0.0)
"""Between lips and sharpness, as the sweep in docs/training.md shows."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How generator and discriminator are trained together.

    alternate: whether the discriminator takes turns, else it stays as it came; painted: weight of painted
    mouths, told to be wrong, in the discriminator's loss; batch: sequences of five pictures; source: what is
    painted from, the sound or (where clips have one) the true code while the ear learns to tell it; ear:
    whether the ear learns at all.
    """

    weights: Weights = FULL
    alternate: bool = True
    painted: float = 0.25
    rate: float = 5e-4
    batch: int = 4
    source: Source = "sound"
    ear: bool = True


@dataclass(frozen=True, slots=True)
class TogetherRun:
    """Where a training keeps itself, how long it lasts, whom it tells. A step is one turn of one network."""

    output: Path
    report: loop.Report
    steps: int = 0
    minutes: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Duo:
    """The two that take turns; judge_size: size of picture that the discriminator was made for; settled_ear:
    the ear came trained on much speech, so its batch norm keeps the statistics it has.
    """

    parts: Parts
    judge: Discriminator
    judge_size: int
    features: FeatureSpace
    settled_ear: bool = False


def train_together(preset: Preset, duo: Duo, data: ClipData, recipe: Recipe, run: TogetherRun) -> None:
    """Trains until run.steps (or minutes), resuming run.output/together.safetensors where there is one.

    Leaves the averaged weights in `duo.parts`. Raises KouboError for a checkpoint of another preset.
    """
    where = parallel.device()
    networks: dict[str, nn.Module] = {**duo.parts.named(), "discriminator": duo.judge}
    for network in networks.values():
        network.to(where).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learning: list[nn.Module] = [duo.parts.face, duo.parts.decoder]
    if not _ear_rests(duo, recipe):
        learning.append(duo.parts.ear)
    painters = [p for network in learning for p in network.parameters()]
    optimisers = {
        "generator": torch.optim.AdamW(painters, recipe.rate, weight_decay=0.01),
        "discriminator": torch.optim.AdamW(
            [{"params": list(duo.judge.parameters()), "share": _JUDGE_RATE}], recipe.rate, weight_decay=0.02
        ),
    }
    with Board(run.output) as board:

        def step(number: int, batch: TalkBatch) -> loop.Turn:
            if recipe.alternate and number % 2:
                turn = _judge_turn(duo, batch, recipe)
            else:
                turn = paint_turn(duo, batch, recipe, number)
            board.figures(turn.optimiser, turn.figures, number)
            return turn

        def show(number: int, batch: TalkBatch) -> None:
            _freeze_parts(duo.parts, True)  # a look must not move batch norm's statistics
            with torch.no_grad():
                painted = _painted(duo.parts, batch)[:: FRAMES // 2]
            few = slice(None, None, FRAMES // 2)
            rows = {"reference": batch.reference[few], "painted": painted, "truth": batch.target[few]}
            board.pictures("together", rows, number)

        training = loop.Training(
            networks, optimisers, step, run.report, tuple(duo.parts.named()), on_save=show
        )
        plan = loop.Plan(run.output / CHECKPOINT, recipe.rate, run.minutes, run.steps)
        state = loop.resume(plan, preset.name, training)
        state.filmed = data.filmed
        source = Ahead(
            lambda random: data.talk_batch(recipe.batch, SOUNDS, random),
            (run.seed, parallel.rank()),
            state.steps,
        )
        loop.run(plan, state, training, iter(source))
        for name, average in training.averages.items():
            networks[name].load_state_dict(average)


def paint_turn(duo: Duo, batch: TalkBatch, recipe: Recipe, number: int) -> loop.Turn:
    """The generator's turn: the discriminator is frozen."""
    where = parallel.device()
    _freeze(duo.judge, True)
    _freeze_parts(duo.parts, False)
    if duo.settled_ear:
        duo.parts.ear.eval()
    picture = _painted(duo.parts, batch, recipe.source)
    target = batch.target.to(where)
    idle = batch.reference.to(where) if batch.still or bool(batch.known.all()) else None
    weights = recipe.weights
    loss = picture_loss(picture, target, idle, batch.lips.to(where), weights)
    figures = {"picture": loss.item()}
    fives, truth = _fives(picture), _fives(target)
    if weights.sync:
        cosine = _cosine(duo, fives, batch.sync[:, 0].to(where))
        sync = sync_loss(cosine, torch.ones_like(cosine))
        loss = loss + weights.sync_at(number) * sync
        figures["sync"] = sync.item()
    if weights.perceptual:
        with torch.autocast(where.type, torch.bfloat16):
            ours = duo.features.maps(fives)
            with torch.no_grad():
                theirs = duo.features.maps(truth)
        perceptual = feature_loss(ours, theirs)
        loss = loss + weights.perceptual * perceptual
        figures["perceptual"] = perceptual.item()
    if isinstance(duo.parts.ear, CodeEar) and batch.known.any() and not _ear_rests(duo, recipe):
        told = duo.parts.ear(batch.mel.to(where))[batch.known]
        loss = loss + _CODE_SHARE * code_loss(told, batch.code.to(where)[batch.known])
    return loop.Turn(loss, "generator", figures)


def _judge_turn(duo: Duo, batch: TalkBatch, recipe: Recipe) -> loop.Turn:
    where = parallel.device()
    _freeze(duo.judge, False)
    _freeze_parts(duo.parts, True)
    true = stack_frames(_fives(batch.target.to(where)), duo.judge_size)
    sounds = SyncBatch(true, batch.sync, batch.code, torch.zeros(len(true), dtype=torch.bool))
    turn = judge_batch(duo.judge, None, sounds)
    with torch.no_grad():
        painted = _fives(_painted(duo.parts, batch))
    cosine = _cosine(duo, painted, batch.sync[:, 0].to(where))
    wrong = sync_loss(cosine, torch.zeros_like(cosine))
    figures = {**turn.figures, "painted taken for true": cosine.mean().item()}
    loss = turn.loss + recipe.painted * wrong
    return replace(turn, loss=loss, optimiser="discriminator", figures=figures)


def _painted(parts: Parts, batch: TalkBatch, source: Source = "sound") -> Tensor:
    where = parallel.device()
    face = batch.face.to(where).contiguous(memory_format=torch.channels_last)
    with torch.autocast(where.type, torch.bfloat16):
        code = parts.ear(batch.mel.to(where))
        if source == "code":
            code = torch.where(batch.known.to(where)[:, None], batch.code.to(where), code)
        skips = parts.face(face)
        if batch.still:
            skips = [skip.repeat_interleave(FRAMES, dim=0) for skip in skips]
        picture: Tensor = parts.decoder(code, skips)
    return picture.float()


def _cosine(duo: Duo, fives: Tensor, mel: Tensor) -> Tensor:
    with torch.autocast(fives.device.type, torch.bfloat16):
        seen = duo.judge.see(stack_frames(fives, duo.judge_size))
        heard = duo.judge.hear(mel)
    return duo.judge.compare(seen, heard)[0]


def _fives(pictures: Tensor) -> Tensor:
    """(5n, 3, S, S) -> (n, 5, 3, S, S)."""
    return pictures.view(-1, FRAMES, *pictures.shape[1:])


def _ear_rests(duo: Duo, recipe: Recipe) -> bool:
    """A settled ear has nothing to learn while pictures are painted from the true code."""
    return not recipe.ear or (duo.settled_ear and recipe.source == "code")


def _freeze_parts(parts: Parts, frozen: bool) -> None:
    for network in parts.named().values():
        _freeze(network, frozen)


def _freeze(network: nn.Module, frozen: bool) -> None:
    """Frozen networks keep their batch norm's statistics too."""
    network.requires_grad_(not frozen).train(not frozen)
