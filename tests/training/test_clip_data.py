"""Batches from clips whose pictures and sound tell their own tick."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.anchor.crop import MASK_MARGIN, MASK_TOP, input_mask
from engine.errors import BadMediaError
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from engine.speech.mel import log_mel, window
from tests.training.footage import LEAD, SIDE, TINY, paint_mouth, talking, write, write_talking
from training import clip_data
from training.clip_data import (
    FARTHEST_WRONG,
    FILMED_MASK_TOP,
    NEAREST_WRONG,
    ClipData,
    TalkBatch,
    read_clips,
    sync_window,
)
from training.clips import Clip, decode, encode, read_clip
from training.models.audio import CODE
from training.models.discriminator import FRAMES
from training.variation import Variation, draw_harsh

SIZE = TINY.size


def noted(ticks: int, clip: int) -> Samples:
    """Sound that tells its tick and its clip: noise of its own in every 40 ms."""
    random = np.random.default_rng([99, clip])
    hertz = np.arange(ticks) * 0.0
    sound = np.zeros(ticks * SAMPLES_PER_TICK)
    time = np.arange(SAMPLES_PER_TICK) / 16_000
    for tick in range(ticks):
        hertz = random.uniform(150, 7000, 6)
        part = np.sin(2 * np.pi * hertz[:, None] * time + random.uniform(0, 6, (6, 1))).sum(axis=0)
        sound[tick * SAMPLES_PER_TICK : (tick + 1) * SAMPLES_PER_TICK] = part
    return np.asarray(0.05 * sound, np.float32)


def grey_of(index: int) -> int:
    """The grey level that tells a picture's index."""
    return 20 + 5 * index


def telling(root: Path, count: int, frames: int, *, idle: bool = False, lead: int = LEAD) -> list[Clip]:
    """Clips whose pictures tell their index by their grey level and whose sound tells its tick."""
    clips = []
    for number in range(count):
        pictures = [encode(np.full((SIDE, SIDE, 3), grey_of(k), np.uint8)) for k in range(frames)]
        still = encode(np.full((SIDE, SIDE, 3), 250, np.uint8)) if idle else None
        samples = noted(frames + 2 * lead, number)
        clips.append(read_clip(write(root / f"{number}", pictures, samples, idle=still, lead=lead)))
    return clips


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variation of picture or sound."""
    monkeypatch.setattr(clip_data, "draw_variation", lambda random: Variation())
    monkeypatch.setattr(clip_data, "_SOUNDS", 1)


def index_of(level: float) -> int:
    """The picture's index by its level in [-1, 1]."""
    return round(((level + 1) * 127.5 - 20) / 5)


class Finder:
    """Finds which clip and tick a sound window is: the nearest of all, whatever its gain."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.places, windows = list[tuple[int, int]](), []
        for number, clip in enumerate(clips):
            spectrogram = log_mel(clip.samples)
            for tick in range(clip.card.frames + 2 * clip.card.lead - FRAMES + 1):
                self.places.append((number, tick))
                windows.append(sync_window(spectrogram, tick))
        self._windows = np.stack(windows)

    def find(self, mel: NDArray[np.float32]) -> tuple[int, int]:
        off = self._windows - mel
        off -= off.mean(axis=(1, 2), keepdims=True)
        distance = np.abs(off).mean(axis=(1, 2))
        place = int(np.argmin(distance))
        assert distance[place] < 0.3
        return self.places[place]


def test_the_window_of_a_tick_is_the_sound_of_just_that_tick_and_four_more(tmp_path: Path) -> None:
    """200 ms from the first picture's start: not from three ticks before it, as the generator hears."""
    clips = telling(tmp_path, 1, 30)
    whole = log_mel(clips[0].samples)
    for tick in (LEAD, LEAD + 7, LEAD + 21):
        alone = np.zeros_like(clips[0].samples)
        part = slice(tick * SAMPLES_PER_TICK, (tick + FRAMES) * SAMPLES_PER_TICK)
        alone[part] = clips[0].samples[part]
        same = np.abs(sync_window(log_mel(alone), tick) - sync_window(whole, tick))
        assert same[:, 3:13].max() == 0
        shifted = np.abs(sync_window(log_mel(alone), tick + 3) - sync_window(whole, tick + 3))
        assert shifted.max() > 1


@pytest.mark.parametrize("idle", [False, True])
def test_the_first_sound_is_that_of_the_pictures(tmp_path: Path, plain: None, idle: bool) -> None:
    clips = telling(tmp_path, 2, 40, idle=idle)
    finder = Finder(clips)
    data = ClipData(clips, SIZE)
    for step in range(6):
        batch = data.sync_batch(4, 4, SIZE, np.random.default_rng(step))
        assert batch.frames.shape == (4, 15, SIZE // 2, SIZE)
        assert batch.mels.shape == (4, 4, 1, 80, 16)
        for frames, mels in zip(batch.frames, batch.mels, strict=True):
            shown = [index_of(frames[3 * k : 3 * k + 3].mean().item()) for k in range(FRAMES)]
            assert shown == list(range(shown[0], shown[0] + FRAMES))
            assert finder.find(mels[0, 0].numpy())[1] == LEAD + shown[0]


@pytest.mark.parametrize(("count", "frames", "lead"), [(1, 40, LEAD), (2, 8, LEAD), (3, 30, 0), (1, 12, 0)])
def test_wrong_sound_is_never_the_right_one(
    tmp_path: Path, plain: None, count: int, frames: int, lead: int
) -> None:
    clips = telling(tmp_path, count, frames, lead=lead)
    finder = Finder(clips)
    data = ClipData(clips, SIZE)
    near, elsewhere, far = 0, 0, 0
    for step in range(25):
        for mels in data.sync_batch(4, 4, SIZE, np.random.default_rng(step)).mels:
            clip, tick = finder.find(mels[0, 0].numpy())
            for wrong in mels[1:, 0]:
                other, at = finder.find(wrong.numpy())
                elsewhere += other != clip
                if other == clip:
                    assert abs(at - tick) >= NEAREST_WRONG
                    near += abs(at - tick) == NEAREST_WRONG
                    far = max(far, abs(at - tick))
    assert near > 0
    assert far <= FARTHEST_WRONG
    assert (elsewhere > 0) == (count > 1)


def heard_ticks(batch: TalkBatch, clips: Sequence[Clip]) -> list[list[tuple[int, int]]]:
    """Clip and tick of each of the generator's windows."""
    places, windows = list[tuple[int, int]](), []
    for number, clip in enumerate(clips):
        spectrogram = log_mel(clip.samples)
        for tick in range(clip.card.frames):
            places.append((number, tick))
            windows.append(window(spectrogram, clip.card.lead + tick))
    stack = np.stack(windows)
    found = [places[int(np.argmin(np.abs(stack - mel[0].numpy()).mean(axis=(1, 2))))] for mel in batch.mel]
    return [found[at : at + FRAMES] for at in range(0, len(found), FRAMES)]


def test_the_generator_hears_what_the_live_engine_hears(tmp_path: Path, plain: None) -> None:
    clips = telling(tmp_path, 2, 40)
    batch = ClipData(clips, SIZE).talk_batch(4, 3, np.random.default_rng(0))
    for row, places in enumerate(heard_ticks(batch, clips)):
        shown = [index_of(t.mean().item()) for t in batch.target[row * FRAMES : (row + 1) * FRAMES]]
        assert [tick for _, tick in places] == shown
        assert len({clip for clip, _ in places}) == 1


def test_the_generator_s_sync_sounds_begin_with_the_right_one(tmp_path: Path, plain: None) -> None:
    clips = telling(tmp_path, 2, 40)
    finder = Finder(clips)
    batch = ClipData(clips, SIZE).talk_batch(6, 3, np.random.default_rng(1))
    assert batch.sync.shape == (6, 3, 1, 80, 16)
    for row, sync in enumerate(batch.sync):
        shown = index_of(batch.target[row * FRAMES].mean().item())
        assert finder.find(sync[0, 0].numpy())[1] == LEAD + shown
        assert abs(finder.find(sync[1, 0].numpy())[1] - LEAD - shown) >= 1


def test_shapes_of_the_generator_s_batch(tmp_path: Path) -> None:
    batch = ClipData(talking(tmp_path, 2, 30), SIZE).talk_batch(3, 4, np.random.default_rng(0))
    assert batch.face.shape == (15, 6, SIZE, SIZE)
    assert batch.target.shape == batch.reference.shape == (15, 3, SIZE, SIZE)
    assert batch.mel.shape == (15, 1, 80, 16)
    assert batch.lips.shape == (15, 2)
    assert batch.code.shape == (15, CODE)
    assert batch.known.shape == (15,)
    assert not batch.known.any()
    assert batch.code.isfinite().all()
    for tensor in (batch.face, batch.target, batch.reference):
        assert tensor.dtype == torch.float32
        assert tensor.abs().max() <= 1
    assert batch.mel.abs().max() <= 4


def test_filmed_input_hides_all_below_the_eyelids(tmp_path: Path) -> None:
    """No idle picture: the input is the target itself, so nothing of cheek, nose or mouth may show."""
    batch = ClipData(talking(tmp_path, 2, 40), SIZE).talk_batch(4, 2, np.random.default_rng(0))
    hidden = torch.from_numpy(input_mask(SIZE, FILMED_MASK_TOP))
    assert not batch.face[:, :3, hidden].any()
    edge = round(MASK_MARGIN * SIZE)
    assert hidden[round(FILMED_MASK_TOP * SIZE) : SIZE - edge, edge : SIZE - edge].all()
    assert torch.equal(batch.face[:, :3, ~hidden], batch.target[:, :, ~hidden])
    assert torch.equal(batch.face[:, 3:], batch.reference)


@pytest.mark.parametrize("frames", [6, 8, 10, 11, 14, 25, 40])
def test_filmed_references_come_from_elsewhere(tmp_path: Path, plain: None, frames: int) -> None:
    data = ClipData(telling(tmp_path, 1, frames), SIZE)
    for step in range(8):
        batch = data.talk_batch(2, 1, np.random.default_rng(step))
        shown = [index_of(t.mean().item()) for t in batch.target]
        referred = [index_of(t.mean().item()) for t in batch.reference]
        assert all(a != b for a, b in zip(shown, referred, strict=True))
        if frames >= 25:
            assert min(abs(a - b) for a, b in zip(shown, referred, strict=True)) >= 10


def test_rendered_input_is_the_idle_picture(tmp_path: Path, plain: None) -> None:
    batch = ClipData(telling(tmp_path, 1, 12, idle=True), SIZE).talk_batch(2, 1, np.random.default_rng(0))
    hidden = torch.from_numpy(input_mask(SIZE))
    assert batch.face.shape == (2, 6, SIZE, SIZE)  # one look for all five pictures
    idle = batch.reference[::FRAMES]
    assert torch.equal(idle.repeat_interleave(FRAMES, dim=0), batch.reference)
    assert (idle > 0.9).all()
    assert not batch.face[:, :3, hidden].any()
    assert torch.equal(batch.face[:, :3, ~hidden], idle[:, :, ~hidden])
    assert torch.equal(batch.face[:, 3:], idle)
    assert not hidden[: round(MASK_TOP * SIZE) - 1].any()


def test_five_pictures_and_their_idle_are_seen_by_one_camera(tmp_path: Path) -> None:
    """Only the mouth may differ: variation that differed within a sequence would teach trembling."""
    batch = ClipData(talking(tmp_path, 2, 30, idle=True), SIZE).talk_batch(6, 1, np.random.default_rng(4))
    targets = batch.target.view(6, FRAMES, 3, SIZE, SIZE)
    top = targets[:, :, :, : SIZE // 4]
    assert (top - top[:, :1]).abs().max() < 0.12
    assert (batch.reference[..., : SIZE // 4, :] - batch.target[..., : SIZE // 4, :]).abs().max() < 0.12
    lips = batch.lips.view(6, FRAMES, 2)
    assert torch.equal(lips, lips[:, :1].expand_as(lips))


def test_the_true_code_goes_with_its_picture(tmp_path: Path) -> None:
    clips = talking(tmp_path, 1, 30, coded=True)
    data = ClipData(clips, SIZE)
    batch = data.sync_batch(3, 2, SIZE, np.random.default_rng(0))
    assert batch.known.all()
    assert clips[0].card.code is not None
    truth = torch.tensor(clips[0].card.code)
    starts = truth.unfold(0, FRAMES, 1).permute(0, 2, 1).flatten(1)
    for row in batch.code:
        assert (starts - row).abs().sum(dim=1).min() < 1e-5


def test_clips_with_and_without_code_mix(tmp_path: Path) -> None:
    clips = [*talking(tmp_path / "a", 1, 20, coded=True), *talking(tmp_path / "b", 1, 20)]
    batch = ClipData(clips, SIZE).sync_batch(16, 2, SIZE, np.random.default_rng(0))
    assert batch.known.any()
    assert not batch.known.all()
    assert not batch.code[~batch.known].any()


def test_a_batch_depends_on_its_random_numbers_alone(tmp_path: Path) -> None:
    clips = talking(tmp_path, 2, 25)
    first = ClipData(clips, SIZE, camera=draw_harsh).sync_batch(3, 3, SIZE, np.random.default_rng(5))
    other = ClipData(clips, SIZE, camera=draw_harsh)
    other.sync_batch(2, 3, SIZE, np.random.default_rng(1))
    again = other.sync_batch(3, 3, SIZE, np.random.default_rng(5))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.mels, again.mels)


def test_long_clips_count_more_but_not_in_proportion(tmp_path: Path, plain: None) -> None:
    clips = [*telling(tmp_path / "long", 1, 45), *talking(tmp_path / "short", 1, 9)]
    data = ClipData(clips, SIZE)
    drawn = [data._draw(np.random.default_rng(step))[0] for step in range(400)]
    expected = np.sqrt(41) / (np.sqrt(41) + np.sqrt(5))
    assert drawn.count(0) / 400 == pytest.approx(expected, abs=0.08)


def test_clips_too_short_are_left_out(tmp_path: Path) -> None:
    write_talking(tmp_path / "short", FRAMES - 1)
    with pytest.raises(BadMediaError, match="shorter than 5"):
        read_clips([tmp_path])
    write_talking(tmp_path / "long", FRAMES)
    assert [clip.name for clip in read_clips([tmp_path])] == ["long"]


def test_large_clips_are_decoded_at_half_size_to_the_same_picture(
    tmp_path: Path, plain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 160
    asked: list[bool] = []

    def watched(encoded: bytes, *, half: bool = False) -> NDArray[np.uint8]:
        asked.append(half)
        return decode(encoded, half=half)

    monkeypatch.setattr(clip_data, "decode", watched)
    pictures = [encode(paint_mouth(k / 6, side)) for k in range(6)]
    clip = read_clip(write(tmp_path / "c", pictures, noted(6 + 2 * LEAD, 0), side=side))
    small = ClipData([clip], SIZE).sync_batch(2, 1, SIZE, np.random.default_rng(0)).frames
    assert all(asked)
    monkeypatch.setattr(clip_data, "decode", lambda encoded, half=False: decode(encoded))
    full = ClipData([clip], SIZE).sync_batch(2, 1, SIZE, np.random.default_rng(0)).frames
    assert (small - full).abs().mean() < 0.02
