"""The lip-sync discriminator, trained on true footage: right sound or wrong sound?

Where clips carry the true mouth code (rendered ones), both branches are also drawn to the place of that code:
it is what they have in common, so the cosine leaves its flat start at 0.69 within hundreds of steps instead
of ten thousands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training import checkpoint, loop, parallel
from training.board import Board
from training.clip_data import ClipData, SyncBatch
from training.loader import Ahead
from training.losses import balance, sync_loss
from training.models.audio import CODE
from training.models.discriminator import FRAMES, Discriminator
from training.models.presets import Preset
from training.train_ear import SPREAD

SOUNDS = 4
"""Sounds that each window is held against: the right one and wrong ones."""

CHECKPOINT = "sync.safetensors"
"""The running training, with all that it needs to go on."""

DISCRIMINATOR = "discriminator.safetensors"
"""What came of it: the averaged weights alone."""

_PEAK_RATE = 2e-3
_CODE_SHARE = 2.0
_STUCK_AFTER = 600
_STUCK_ABOVE = 0.685  # ln 2 is 0.693: what a discriminator that cannot tell pays

_CODE_MEAN = torch.tensor([0.06, 0.023, 0.049, 0.114, 0.017, 0.04, 0.062, 0.053, 0.055, 0.028, 0.087, 0.025])
"""Mean of each channel of the code in English speech."""

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


class CodeSpace:
    """Where the true mouth code of five pictures lies on the embeddings' sphere.

    A fixed random projection of the code in units of its spread, then ReLU and length 1, as embeddings are:
    like codes come to lie together, unlike ones apart. So both branches have a place to go from the start.
    """

    def __init__(self, embedding: int, where: torch.device) -> None:
        random = torch.Generator().manual_seed(0)
        self._projection = torch.randn(FRAMES * CODE, embedding, generator=random).to(where)
        self._mean = _CODE_MEAN.repeat(FRAMES).to(where)
        self._spread = SPREAD.repeat(FRAMES).to(where)

    def place(self, code: Tensor) -> Tensor:
        """(n, 5 * CODE) -> (n, embedding) of length 1."""
        projected = torch.relu((code - self._mean) / self._spread @ self._projection)
        return functional.normalize(projected, dim=1)


def train_sync(preset: Preset, data: ClipData, run: SyncRun) -> Discriminator:
    """Trains until run.steps (or minutes), resuming run.output/sync.safetensors where there is one.

    Writes the averaged weights to run.output/discriminator.safetensors at the end.

    Raises KouboError for a checkpoint of another preset.
    """
    torch.manual_seed(run.seed)
    where = parallel.device()
    judge = Discriminator(preset).to(where)
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    space = CodeSpace(preset.discriminator.embedding, where)
    networks: dict[str, nn.Module] = {"discriminator": judge}
    optimiser = torch.optim.AdamW(judge.parameters(), _PEAK_RATE, weight_decay=0.02)
    watch = _Watch(run.warn)
    with Board(run.output) as board:

        def step(number: int, batch: SyncBatch) -> loop.Turn:
            turn = judge_batch(judge.train(), space, batch)
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
            lambda random: data.sync_batch(run.batch, SOUNDS, preset.size, random),
            (run.seed, parallel.rank()),
            state.steps,
        )
        loop.run(plan, state, training, iter(source))
    judge.load_state_dict(training.averages["discriminator"])
    if parallel.rank() == 0:
        told = {"preset": preset.name, "steps": state.steps}
        checkpoint.save(run.output / DISCRIMINATOR, {"discriminator": judge}, told)
    judge.eval()
    return judge


def judge_batch(judge: Discriminator, space: CodeSpace | None, batch: SyncBatch) -> loop.Turn:
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
    if space is not None and batch.known.any():
        known = batch.known.to(where)
        place = space.place(batch.code.to(where))[known]
        first = heard.view(count, sounds, -1)[:, 0][known]
        near = [(told * place).sum(dim=1).mean() for told in (seen[known], first)]
        figures["seen"], figures["heard"] = (cosine.item() for cosine in near)
        loss = loss + _CODE_SHARE * (2 - near[0] - near[1])
    return loop.Turn(loss, "sync", figures)


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
