"""Offsets from similarity, and from clips, without a trained network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import BadMediaError, KouboError
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from tests.training.footage import LEAD, TINY, syllables, talking, use_presets, voiced
from training import checkpoint, sync_score
from training.clips import span
from training.evaluate_sync import clip_pictures, judge_offsets, score_errors
from training.models.discriminator import FRAMES, Discriminator, crop_side
from training.sync_score import (
    MAX_OFFSET,
    WINDOW,
    DiscriminatorJudge,
    SyncFinding,
    finding,
    shipped_judge,
)

COLUMNS = 2 * MAX_OFFSET + 1


def planted(starts: int, offset: int, *, best: float = 0.8, rest: float = 0.3) -> NDArray[np.float32]:
    """Similarity that is `best` at an offset and `rest` elsewhere, with noise."""
    found = rest + 0.05 * np.random.default_rng(offset + 99).standard_normal((starts, COLUMNS))
    found[:, offset + MAX_OFFSET] += best - rest
    return found.astype(np.float32)


def bounded(similarity: NDArray[np.float32], ticks: int) -> NDArray[np.float32]:
    """NaN where start + offset lies outside of `ticks` sounds."""
    out = similarity.copy()
    for start in range(len(out)):
        for column in range(COLUMNS):
            if not 0 <= start + column - MAX_OFFSET < ticks:
                out[start, column] = np.nan
    return out


@pytest.mark.parametrize("offset", [-15, -7, -1, 0, 1, 8, 15])
def test_a_planted_offset_is_found(offset: int) -> None:
    found = finding(planted(100, offset))
    assert found.offset == offset
    assert found.confidence == pytest.approx(0.5, abs=0.03)
    assert found.distance == pytest.approx(0.2, abs=0.03)
    assert found.steady == 1
    assert found.windows == [offset] * 5


@pytest.mark.parametrize("offset", [-10, -4, 0, 6, 10])
@pytest.mark.parametrize("starts", [46, 47, 96, 200])
def test_sound_that_ends_with_the_pictures_is_enough(offset: int, starts: int) -> None:
    found = finding(bounded(planted(starts, offset), starts))
    assert found.offset == offset
    assert len(found.windows) == len(range(0, max(1, starts - (WINDOW - FRAMES)), 12))


def test_far_offsets_that_few_starts_could_try_do_not_win() -> None:
    similarity = bounded(planted(20, 0), 20)
    similarity[:3, MAX_OFFSET + 15] = 1.0
    assert finding(similarity).offset == 0


def test_ties_go_to_one_of_the_best() -> None:
    similarity = np.full((60, COLUMNS), 0.4, np.float32)
    similarity[:, [MAX_OFFSET - 3, MAX_OFFSET + 5]] = 0.9
    found = finding(similarity)
    assert found.offset in (-3, 5)
    assert found.steady == 1


def test_no_preference_has_no_confidence() -> None:
    found = finding(np.full((60, COLUMNS), 0.5, np.float32))
    assert found.confidence == 0
    assert found.distance == 0.5


def test_a_clip_of_five_pictures_is_judged() -> None:
    found = finding(planted(1, 3))
    assert found.offset == 3
    assert found.windows == [3]


def test_nothing_to_compare_with_is_no_confidence_and_no_nan() -> None:
    found = finding(np.full((30, COLUMNS), np.nan, np.float32))
    assert (found.confidence, found.distance) == (0, 1)


def test_drifting_sound_is_not_steady() -> None:
    similarity = np.concatenate([planted(100, 2), planted(60, -9)])
    found = finding(similarity)
    assert found.offset == 2
    assert 0.4 < found.steady < 0.9
    assert {2, -9} <= set(found.windows)


class KnowingNetwork:
    """Sees the number that a picture carries and hears the number that a sound carries: their cosine is 1
    where both are the same.
    """

    def see(self, frames: torch.Tensor) -> torch.Tensor:
        levels = (frames[:, :3].mean(dim=(1, 2, 3)) + 1) * 127.5
        return self._vector((levels - 10) / 3)

    def hear(self, mel: torch.Tensor) -> torch.Tensor:
        return self._vector(mel[:, 0, 0, 0] * 20)

    @staticmethod
    def _vector(number: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(number.round().long().clamp(0, 127), 128).float()


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiscriminatorJudge:
    use_presets(monkeypatch, tmp_path / "presets")
    torch.manual_seed(0)
    path = tmp_path / "sync.safetensors"
    checkpoint.save(path, {"discriminator": Discriminator(TINY)}, {"preset": "tiny"})
    return shipped_judge(path)


@pytest.mark.parametrize("late", [-9, -2, 0, 1, 12])
def test_positive_means_that_the_sound_comes_after_its_picture(
    judge: DiscriminatorJudge, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Picture i carries i; sound tick i + late carries i: that is an offset of +late."""
    side = judge.size
    pictures = [np.full((side, side, 3), 10 + 3 * k, np.uint8) for k in range(70)]
    samples = np.zeros(70 * SAMPLES_PER_TICK, np.float32)

    def told(spectrogram: object, tick: int) -> NDArray[np.float32]:
        return np.full((80, 16), max(0, tick - late) / 20, np.float32)

    monkeypatch.setattr(sync_score, "sync_window", told)
    monkeypatch.setattr(judge, "_network", KnowingNetwork())
    found = judge.judge(pictures, samples)
    assert found.offset == late
    assert found.confidence > 0.9
    assert found.steady == 1


def test_similarity_is_nan_beyond_the_sound(judge: DiscriminatorJudge) -> None:
    side = judge.size
    pictures = [np.zeros((side, side, 3), np.uint8)] * 12
    found = judge.similarity(pictures, voiced(syllables(12, 0)))
    assert found.shape == (8, COLUMNS)
    inside = np.isfinite(found)
    for start in range(8):
        for column in range(COLUMNS):
            assert inside[start, column] == (0 <= start + column - MAX_OFFSET < 8)
    assert np.nanmin(found) >= 0
    assert np.nanmax(found) <= 1 + 1e-5


def test_many_pictures_are_seen_as_few_are(
    judge: DiscriminatorJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (judge.size, judge.size, 3), np.uint8) for _ in range(15)]
    samples = voiced(syllables(15, 0))
    whole = judge.similarity(pictures, samples)
    monkeypatch.setattr(sync_score, "_BATCH", 4)
    np.testing.assert_allclose(judge.similarity(pictures, samples), whole, atol=1e-5)


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(100, np.float32)])
def test_hardly_any_sound_gives_no_confidence(judge: DiscriminatorJudge, samples: Samples) -> None:
    pictures = [np.zeros((judge.size, judge.size, 3), np.uint8)] * 60
    assert judge.judge(pictures, samples).confidence == 0


def test_too_few_pictures_are_told(judge: DiscriminatorJudge) -> None:
    with pytest.raises(BadMediaError, match="4 pictures are too few"):
        judge.judge([np.zeros((judge.size, judge.size, 3), np.uint8)] * 4, np.zeros(9000, np.float32))


def test_the_judge_says_which_crops_it_wants(judge: DiscriminatorJudge) -> None:
    assert judge.size == crop_side(TINY.size)


def test_checkpoints_that_are_no_judge_are_told(tmp_path: Path, judge: DiscriminatorJudge) -> None:
    with pytest.raises(KouboError, match="no checkpoint"):
        shipped_judge(tmp_path / "none.safetensors")
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, {"face": torch.nn.Linear(2, 2)}, {"preset": "tiny"})
    with pytest.raises(KouboError, match="another"):
        shipped_judge(path)
    checkpoint.save(path, {"face": torch.nn.Linear(2, 2)}, {"preset": "giant"})
    with pytest.raises(KouboError, match="giant"):
        shipped_judge(path)


class Oracle:
    """Finds the offset by holding loudness against the mouth's darkness: no network, the same contract."""

    size = 48

    def judge(self, pictures: list[NDArray[np.uint8]], samples: Samples) -> SyncFinding:
        dark = np.array([(p[20:40, 16:32, 1] < 90).mean() for p in pictures])
        loud = np.abs(samples[: samples.size // 640 * 640]).reshape(-1, 640).mean(axis=1)
        scores = {}
        for offset in range(-MAX_OFFSET, MAX_OFFSET + 1):
            pairs = [(dark[i], loud[i + offset]) for i in range(len(dark)) if 0 <= i + offset < len(loud)]
            scores[offset] = float(np.corrcoef(np.array(pairs).T)[0, 1])
        best = max(scores, key=lambda offset: scores[offset])
        return SyncFinding(best, 1.0, 0.0, 1.0, [best])


def test_moved_sound_is_found_where_it_was_moved_to(tmp_path: Path) -> None:
    """The evaluation's own sign: an independent judge that reads loudness finds every planted offset."""
    told: list[tuple[int, int]] = []
    clips = talking(tmp_path, 2, 60)
    score = judge_offsets(Oracle(), clips, progress=lambda *done: told.append(done))  # type: ignore[arg-type]
    assert score.windows == 2 * 3
    assert score.within_one == 1
    assert score.mean_error < 0.6
    assert score.wrong_sound < 0.7
    assert told == [(1, 2), (2, 2)]


def test_late_footage_reads_as_late(tmp_path: Path) -> None:
    """Clips of which the sound comes 5 ticks after the mouth, before anybody moved it."""
    (clip,) = talking(tmp_path, 1, 60, late=5)
    pictures = clip_pictures(clip, 48)
    assert Oracle().judge(pictures, span(clip.samples, LEAD, 60)).offset == 5


def test_errors_become_a_score() -> None:
    score = score_errors([0, 0, 1, 4], [9, 1, 7, 12])
    assert (score.windows, score.within_one, score.exact, score.mean_error) == (4, 0.75, 0.5, 1.25)
    assert score.wrong_sound == 0.25


def test_clips_too_short_for_two_seconds_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="shorter than two seconds"):
        judge_offsets(Oracle(), talking(tmp_path, 2, 30))  # type: ignore[arg-type]


def test_one_clip_has_no_wrong_sound_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="give two"):
        judge_offsets(Oracle(), talking(tmp_path, 1, 60))  # type: ignore[arg-type]


def test_the_judge_that_comes_with_koubo_is_one() -> None:
    if not sync_score.SHIPPED.is_file():
        pytest.skip(f"needs {sync_score.SHIPPED.name} in training/weights")
    judge = shipped_judge()
    assert judge.size >= 96
