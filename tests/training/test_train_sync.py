"""The discriminator's training: its loss, its warning, its exact resumption, and that it learns."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import KouboError
from tests.training.footage import LEAD, QUICK, TINY, talking, use_presets, write_talking
from training import checkpoint, loop, train_sync
from training.clip_data import ClipData, SyncBatch
from training.clips import Clip, read_clip, span
from training.evaluate_sync import clip_pictures, judge_offsets
from training.loop import Report
from training.losses import balance
from training.models.audio import CODE
from training.models.discriminator import FRAMES, Discriminator, crop_side
from training.models.presets import Preset
from training.sync_score import shipped_judge
from training.train_sync import (
    CHECKPOINT,
    DISCRIMINATOR,
    CodeSpace,
    SyncRun,
    _Watch,
    judge_batch,
)

ROOT = Path(__file__).parents[2]


def data_of(clips: Sequence[Clip], plan: Preset) -> ClipData:
    return ClipData(clips, crop_side(plan.size))


def silent(share: float, figures: dict[str, float]) -> None:
    """A report to nobody."""


def sync_run(output: Path, steps: int, *, batch: int = 3, report: Report = silent) -> SyncRun:
    return SyncRun(output, report, lambda sentence: None, steps=steps, batch=batch)


def stop_after(steps: int) -> Report:
    """Raises when told of the step after `steps`, as Ctrl-C would."""
    told = 0

    def report(share: float, figures: dict[str, float]) -> None:
        nonlocal told
        told += 1
        if told > steps:
            raise KeyboardInterrupt

    return report


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports and saves at every step."""
    monkeypatch.setattr(loop, "_REPORT_EVERY", 1)
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", -1.0)


def assert_same_but_for_time(ours: Path, theirs: Path) -> None:
    """Every tensor of two checkpoints is bit-equal: weights, moments, averages, random state."""
    mine, other = load_file(ours), load_file(theirs)
    assert set(mine) == set(other)
    kinds = {key.split("/")[0] for key in mine}
    assert kinds == {"network", "average", "optimiser", "random"}
    differing = [key for key in mine if not torch.equal(mine[key], other[key])]
    assert differing == []
    states = [checkpoint.read_state(path) for path in (ours, theirs)]
    for state in states:
        del state["seconds"]
    assert states[0] == states[1]


@pytest.mark.parametrize("coded", [False, True])
def test_stopped_and_resumed_is_bit_for_bit_the_same(tmp_path: Path, coded: bool, every_step: None) -> None:
    clips = talking(tmp_path / "clips", 3, 20, coded=coded)
    train_sync.train_sync(TINY, data_of(clips, TINY), sync_run(tmp_path / "straight", 6))
    broken = sync_run(tmp_path / "broken", 6, report=stop_after(3))
    with pytest.raises(KeyboardInterrupt):
        train_sync.train_sync(TINY, data_of(clips, TINY), broken)
    assert checkpoint.read_state(tmp_path / "broken" / CHECKPOINT)["steps"] == 3
    torch.manual_seed(12345)  # a new process knows nothing of the old one's chance
    np.random.seed(54321)
    judge = train_sync.train_sync(TINY, data_of(clips, TINY), sync_run(tmp_path / "broken", 6))
    assert_same_but_for_time(tmp_path / "straight" / CHECKPOINT, tmp_path / "broken" / CHECKPOINT)
    averages = load_file(tmp_path / "straight" / CHECKPOINT)
    shipped = load_file(tmp_path / "straight" / DISCRIMINATOR)
    for key, value in judge.state_dict().items():
        assert torch.equal(value, averages[f"average/discriminator/{key}"])
        assert torch.equal(value, shipped[f"network/discriminator/{key}"])
    assert not judge.training


KILLED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.footage import TINY
from tests.training.test_train_sync import data_of, sync_run
from training import loop
from training.clip_data import read_clips
from training.train_sync import train_sync
loop._SAVE_EVERY_S = -1.0
clips = read_clips([Path(sys.argv[1])])
train_sync(TINY, data_of(clips, TINY), sync_run(Path(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.mark.slow
def test_a_killed_run_is_usable_and_finishes_the_same(tmp_path: Path) -> None:
    talking(tmp_path / "clips", 3, 20)
    steps = 40
    own = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def start(output: Path) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", KILLED, tmp_path / "clips", output, steps]
        return subprocess.Popen(list(map(str, words)), cwd=ROOT, env=own)

    path = tmp_path / "killed" / CHECKPOINT
    running = start(tmp_path / "killed")
    deadline = time.monotonic() + 200
    while not path.is_file():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    assert running.wait(20) == -signal.SIGKILL
    done = checkpoint.read_state(path)["steps"]
    assert 1 <= done < steps
    checkpoint.load_trained(path, {"discriminator": Discriminator(TINY)})
    assert start(tmp_path / "killed").wait(200) == 0
    assert start(tmp_path / "straight").wait(200) == 0
    assert_same_but_for_time(path, tmp_path / "straight" / CHECKPOINT)


def test_a_checkpoint_of_another_preset_is_refused(tmp_path: Path) -> None:
    clips = talking(tmp_path / "clips", 2, 20)
    train_sync.train_sync(TINY, data_of(clips, TINY), sync_run(tmp_path / "run", 1))
    with pytest.raises(KouboError, match=r"another preset \(tiny\), this run is quick"):
        train_sync.train_sync(QUICK, data_of(clips, QUICK), sync_run(tmp_path / "run", 2))


def batch_of(coded: bool, count: int = 4, sounds: int = 3) -> SyncBatch:
    random = torch.Generator().manual_seed(0)
    return SyncBatch(
        torch.rand(count, 15, TINY.size // 2, TINY.size, generator=random) * 2 - 1,
        torch.randn(count, sounds, 1, 80, 16, generator=random),
        torch.rand(count, FRAMES * CODE, generator=random),
        torch.full((count,), coded),
    )


def test_the_first_sound_is_the_right_one() -> None:
    """The loss falls when only the first sound's cosine rises."""
    torch.manual_seed(0)
    judge = Discriminator(TINY)
    seen = torch.zeros(4, 8)
    seen[:, 0] = 1
    fits, other = seen.clone(), torch.zeros(4, 8)
    other[:, 1] = 1

    def loss(heard: Tensor) -> float:
        judge.see = lambda frames: seen  # type: ignore[method-assign]
        judge.hear = lambda mel: heard  # type: ignore[method-assign]
        return judge_batch(judge, None, batch_of(False)).figures["bce"]

    def sounds(first: Tensor, others: Tensor) -> Tensor:
        return torch.stack([first, others, others], dim=1).flatten(0, 1)

    assert loss(sounds(fits, other)) < 0.01
    assert loss(sounds(other, fits)) > 5
    assert loss(sounds(fits, fits)) == pytest.approx(loss(sounds(other, other)), rel=0.01)
    right_first = judge_batch(judge, None, batch_of(False)).figures["right first"]
    assert right_first == 1


def test_codes_draw_both_branches_where_they_are_known() -> None:
    torch.manual_seed(0)
    judge = Discriminator(TINY)
    space = CodeSpace(TINY.discriminator.embedding, torch.device("cpu"))
    without = judge_batch(judge, space, batch_of(False))
    known = judge_batch(judge, space, batch_of(True))
    assert "seen" not in without.figures
    assert {"seen", "heard"} <= set(known.figures)
    assert known.loss > without.loss
    assert judge_batch(judge, None, batch_of(True)).loss.item() == pytest.approx(
        without.loss.item(), rel=0.05
    )
    known.loss.backward()  # type: ignore[no-untyped-call]
    for branch in (judge.face, judge.sound):
        gradients = [p.grad for p in branch.parameters() if p.grad is not None]
        assert any(g.abs().max() > 0 for g in gradients)


def test_like_codes_lie_together() -> None:
    space = CodeSpace(64, torch.device("cpu"))
    code = torch.rand(1, FRAMES * CODE, generator=torch.Generator().manual_seed(1)) * 0.4
    near, far = code + 0.01, code.flip(1)
    places = [space.place(each) for each in (code, near, far)]
    for place in places:
        assert place.min() >= 0
        assert place.norm().item() == pytest.approx(1)
    assert (places[0] * places[1]).sum() > 0.95 > (places[0] * places[2]).sum()
    assert torch.equal(places[0], CodeSpace(64, torch.device("cpu")).place(code))


def test_right_and_wrong_weigh_the_same() -> None:
    right = torch.zeros(3, 4)
    right[:, 0] = 1
    weight = balance(right)
    assert (weight * right).sum().item() == pytest.approx((weight * (1 - right)).sum().item())
    assert weight.mean().item() == pytest.approx(1)


def watched(losses: Sequence[float]) -> list[str]:
    said: list[str] = []
    watch = _Watch(said.append)
    for step, loss in enumerate(losses):
        watch.see(step, loss)
    return said


def test_one_that_cannot_tell_is_warned_of_once() -> None:
    coin = 0.693 + 0.01 * np.random.default_rng(0).standard_normal(1500)
    said = watched(list(coin))
    assert len(said) == 1
    assert "After 600 steps" in said[0]
    assert "in sync" in said[0]
    assert "\n" not in said[0]
    assert watched(list(coin[:600])) == []


def test_one_that_learns_is_not_warned_of() -> None:
    steps = np.arange(1500)
    noise = 0.03 * np.random.default_rng(0).standard_normal(1500)
    assert watched(list(0.5 + 0.2 * np.exp(-steps / 200) + noise)) == []


def test_one_that_falls_back_is_warned_of() -> None:
    assert len(watched([0.6] * 700 + [0.75] * 500)) == 1


@pytest.fixture
def hurried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One microphone, a short warm-up, and QUICK known by its name."""
    use_presets(monkeypatch, tmp_path / "presets")
    monkeypatch.setattr("training.clip_data._SOUNDS", 1)
    monkeypatch.setattr(loop, "_CURVE_EVERY", 20)
    monkeypatch.setattr(loop, "_REPORT_EVERY", 5)


def learned(clips: Sequence[Clip], output: Path, steps: int) -> tuple[float, Path]:
    """The loss at the end of a training, and the discriminator's file."""
    told: list[float] = []

    def report(share: float, figures: dict[str, float]) -> None:
        told.append(figures["bce"])

    train_sync.train_sync(QUICK, data_of(clips, QUICK), sync_run(output, steps, batch=12, report=report))
    return float(np.mean(told[-6:])), output / DISCRIMINATOR


@pytest.mark.slow
def test_it_learns_what_goes_together(tmp_path: Path, hurried: None) -> None:
    loss, file = learned(talking(tmp_path / "clips", 6, 60), tmp_path / "run", 160)
    assert loss < 0.5
    judge = shipped_judge(file)
    unseen = [read_clip(write_talking(tmp_path / f"unseen{n}", 75, seed=20 + n)) for n in range(2)]
    for clip in unseen:
        pictures = clip_pictures(clip, judge.size)
        for late in (-7, 0, 4):
            samples = span(clip.samples, LEAD - late, len(pictures))
            found = judge.judge(pictures, samples)
            assert abs(found.offset - late) <= 1
            assert found.confidence > 0.05
    # Two sentences may resemble each other by chance; four hardly.
    more = [read_clip(write_talking(tmp_path / f"more{n}", 75, seed=30 + n)) for n in range(2)]
    score = judge_offsets(judge, [*unseen, *more])
    assert score.within_one > 0.8
    assert score.wrong_sound < 0.5


@pytest.mark.slow
def test_from_swapped_sound_it_learns_nothing(tmp_path: Path, hurried: None) -> None:
    """Every mouth comes with another clip's sound: nothing there helps with unseen clips."""
    clips = talking(tmp_path / "clips", 6, 60)
    swapped = [replace(clip, samples=clips[number - 2].samples) for number, clip in enumerate(clips)]
    loss, file = learned(swapped, tmp_path / "run", 120)
    assert loss > 0.6
    judge = shipped_judge(file)
    unseen = [read_clip(write_talking(tmp_path / f"unseen{n}", 75, seed=20 + n)) for n in range(2)]
    assert judge_offsets(judge, unseen).within_one < 0.5
