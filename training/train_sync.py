"""The lip-sync discriminator, trained on true footage: right sound or wrong sound?

Where clips carry the true mouth code (rendered ones), both branches must also tell it from their embedding.
That is what they have in common, so the cosine leaves its flat start at 0.69 within hundreds of steps instead
of ten thousands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training import loop, parallel
from training.board import Board
from training.clip_data import ClipData, SyncBatch
from training.loader import Ahead
from training.losses import sync_loss
from training.models.audio import CODE
from training.models.discriminator import FRAMES, Discriminator
from training.models.presets import Preset

SOUNDS = 4
"""Sounds that each window is held against: the right one and wrong ones."""

CHECKPOINT = "sync.safetensors"

_PEAK_RATE = 1e-3
_CODE_SHARE = 1.0
_STUCK_AFTER = 600
_STUCK_ABOVE = 0.685  # ln 2 is 0.693: what a discriminator that cannot tell pays

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SyncRun:
    """Where a training of the discriminator keeps itself, how long it lasts, whom it tells."""

    output: Path
    report: loop.Report
    warn: Warn
    steps: int = 0
    minutes: float = 0.0
    batch: int = 24
    seed: int = 0


class Probes(nn.Module):
    """Reads the mouth code of the five pictures from an embedding; only helps to train it."""

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.seen = nn.Linear(embedding, FRAMES * CODE)
        self.heard = nn.Linear(embedding, FRAMES * CODE)
        self.scale = embedding**0.5
        for linear in (self.seen, self.heard):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, seen: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (n, 5 * CODE) told by either branch."""
        return self.seen(seen * self.scale), self.heard(heard * self.scale)


def train_sync(preset: Preset, data: ClipData, run: SyncRun) -> Discriminator:
    """Trains until run.steps (or minutes), resuming run.output/sync.safetensors where there is one.

    Raises KouboError for a checkpoint of another preset.
    """
    torch.manual_seed(run.seed)
    where = parallel.device()
    judge = Discriminator(preset).to(where)
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    probes = Probes(preset.discriminator.embedding).to(where)
    networks: dict[str, nn.Module] = {"discriminator": judge, "probes": probes}
    optimiser = torch.optim.AdamW(
        [p for network in networks.values() for p in network.parameters()], _PEAK_RATE, weight_decay=0.02
    )
    watch = _Watch(run.warn)
    with Board(run.output) as board:

        def step(number: int, batch: SyncBatch) -> loop.Turn:
            turn = judge_batch(judge.train(), probes, batch)
            watch.see(number, turn.figures["bce"])
            board.figures("sync", turn.figures, number)
            return turn

        def show(number: int, batch: SyncBatch) -> None:
            middle = batch.frames[:, 6:9]
            board.pictures("sync", {"third picture": middle}, number)

        plan = loop.Plan(run.output / CHECKPOINT, _PEAK_RATE, run.minutes, run.steps)
        training = loop.Training(
            networks, {"sync": optimiser}, step, run.report, ("discriminator",), on_save=show
        )
        state = loop.resume(plan, preset.name, training)
        source = Ahead(
            lambda random: data.sync_batch(run.batch, SOUNDS, random),
            (run.seed, parallel.rank()),
            state.steps,
        )
        loop.run(plan, state, training, iter(source))
    judge.load_state_dict(training.averages["discriminator"])
    judge.eval()
    return judge


def judge_batch(judge: Discriminator, probes: Probes | None, batch: SyncBatch) -> loop.Turn:
    """The discriminator's loss on true footage."""
    where = parallel.device()
    count, sounds = batch.mels.shape[:2]
    frames = batch.frames.to(where).contiguous(memory_format=torch.channels_last)
    with torch.autocast(where.type, torch.bfloat16):
        seen = judge.see(frames)
        heard = judge.hear(batch.mels.to(where).flatten(0, 1))
    cosine, verdict = judge.compare(seen.repeat_interleave(sounds, dim=0), heard)
    right = torch.zeros(count, sounds, device=where)
    right[:, 0] = 1
    bce = sync_loss(cosine.view(count, sounds), right)
    verdicts = functional.binary_cross_entropy_with_logits(
        verdict.view(count, sounds), right, weight=balance(right)
    )
    loss = bce + verdicts
    with torch.no_grad():
        found = (cosine.view(count, sounds).argmax(dim=1) == 0).float().mean().item()
    figures = {"bce": bce.item(), "verdict": verdicts.item(), "right first": found}
    if probes is not None and batch.known.any():
        first = heard.view(count, sounds, -1)[:, 0]
        told = probes(seen, first)
        truth, known = batch.code.to(where), batch.known.to(where)
        cost = sum(((codes - truth)[known] ** 2).mean() for codes in told) / CODE_VARIANCE
        figures["code"] = float(cost.detach())
        loss = loss + _CODE_SHARE * cost
    return loop.Turn(loss, "sync", figures)


CODE_VARIANCE = 0.02
"""About the variance of a channel of the code in speech, so that a constant guess costs about 2."""


def balance(right: Tensor) -> Tensor:
    """Weights that let right and wrong sounds count the same, however many there are of each."""
    share = right.mean()
    return torch.where(right > 0, 0.5 / share, 0.5 / (1 - share))


class _Watch:
    """Warns once when the loss stays where a coin would be."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._smooth = 0.0
        self._warned = False

    def see(self, step: int, loss: float) -> None:
        self._smooth = loss if not self._smooth else 0.99 * self._smooth + 0.01 * loss
        if step >= _STUCK_AFTER and self._smooth > _STUCK_ABOVE and not self._warned:
            self._warned = True
            self._warn(
                f"After {step} steps the sync loss is still {self._smooth:.3f}, as if sound and mouth had "
                "nothing in common (0.69); check that the clips are in sync and show talking mouths."
            )
