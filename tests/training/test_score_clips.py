"""Scores of generators whose honesty is known."""

from pathlib import Path
from typing import Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.anchor.crop import Picture
from engine.anchor.tracker import Face
from tests.fakes import fake_landmarks
from tests.training.footage import talking
from training import score_clips
from training.clips import Clip
from training.models.generator import Parts
from training.score_clips import _correlation, _mouth, paint_clip
from training.score_clips import score_clips as score

SIZE = 48


class DarkTracker:
    """Reads the jaw's opening as the dark share of the picture's middle."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        """Nothing to let go."""

    def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
        dark = float((rgb[..., 1] < 90).mean() * 10)
        return Face(fake_landmarks(rgb.shape[1], rgb.shape[0]), {"jawOpen": dark})


class Peeking(nn.Module):
    """The dishonest generator: keeps what it gets for a face, be it the target's own picture."""

    def forward(self, face: Tensor) -> list[Tensor]:
        return [face]


class Loudness(nn.Module):
    """An ear that hears how loud the window's own tick is, 0 to 1."""

    def forward(self, mel: Tensor) -> Tensor:
        return ((mel[:, 0, :40, 9:14].mean(dim=(1, 2)) + 4) / 5).clamp(0, 1)


class Painter(nn.Module):
    """Darkens an ellipse of the reference as wide as the code says; with `truth` repeats that instead."""

    def __init__(self, truth: Tensor | None = None) -> None:
        super().__init__()
        self.truth, self.at = truth, 0

    def forward(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        if self.truth is not None:
            part = torch.roll(self.truth, -self.at, 0)[: len(code)]
            self.at = (self.at + len(code)) % len(self.truth)
            return part
        rows, columns = torch.meshgrid(torch.arange(SIZE) / SIZE, torch.arange(SIZE) / SIZE, indexing="ij")
        high = (0.02 + 0.17 * code)[:, None, None]
        inside = ((columns - 0.5) / 0.19) ** 2 + ((rows - 0.52) / high) ** 2 < 1
        skin = skips[0][:, 3:]
        return torch.where(inside[:, None], torch.tensor(-0.7), skin)


def parts(painter: Painter) -> Parts:
    return Parts(Peeking(), Loudness(), painter)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return talking(tmp_path_factory.mktemp("clips"), 2, 50, idle=True)


def truth_of(clip: Clip) -> Tensor:
    from training.evaluate_sync import clip_pictures

    stacked = np.stack(clip_pictures(clip, SIZE)).transpose(0, 3, 1, 2).astype(np.float32)
    return torch.from_numpy(stacked / 127.5 - 1)


def test_one_that_listens_scores_with_its_own_sound_only(clips: list[Clip]) -> None:
    found = score(parts(Painter()), SIZE, clips, DarkTracker)
    assert found.clips == 2
    assert found.jaw_r > 0.8
    assert found.swapped_jaw_r < 0.4
    assert found.psnr > 15
    assert 0.5 < found.sharpness < 1.5


def test_one_that_copies_the_target_is_found_out(clips: list[Clip]) -> None:
    """It is perfect, and just as perfect with wrong sound: that is the leak that the swap is there for."""
    found = score(parts(Painter(truth_of(clips[0]))), SIZE, clips[:1], DarkTracker)
    assert found.jaw_r == pytest.approx(1, abs=0.001)
    assert found.swapped_jaw_r == pytest.approx(1, abs=0.001)
    assert found.psnr > 40
    assert found.sharpness == pytest.approx(1, abs=0.01)


def test_one_that_stands_still_scores_nothing(clips: list[Clip]) -> None:
    still = truth_of(clips[0])[:1].expand(50, -1, -1, -1)
    found = score(parts(Painter(still)), SIZE, clips[:1], DarkTracker)
    assert found.jaw_r == 0
    assert found.swapped_jaw_r == 0


def test_blur_shows_in_sharpness(clips: list[Clip]) -> None:
    blurred = torch.nn.functional.avg_pool2d(truth_of(clips[0]), 5, 1, 2)
    found = score(parts(Painter(blurred)), SIZE, clips[:1], DarkTracker)
    assert found.sharpness < 0.8


def test_rendered_clips_are_painted_from_their_idle_picture(clips: list[Clip]) -> None:
    seen: list[Tensor] = []

    class Watching(Peeking):
        def forward(self, face: Tensor) -> list[Tensor]:
            seen.append(face)
            return [face]

    watched = Parts(Watching(), Loudness(), Painter())  # type: ignore[arg-type]
    from training.evaluate_sync import clip_pictures

    truth = clip_pictures(clips[0], SIZE)
    painted = paint_clip(watched, SIZE, clips[0], truth)
    assert len(painted) == 50
    faces = torch.cat(seen)
    assert (faces - faces[:1]).abs().max() == 0
    assert not faces[:, :3, 20:40, 10:38].any()


def test_filmed_clips_never_show_the_mouth_that_is_to_be_painted(tmp_path: Path) -> None:
    (clip,) = talking(tmp_path, 1, 30)
    seen: list[Tensor] = []

    class Watching(Peeking):
        def forward(self, face: Tensor) -> list[Tensor]:
            seen.append(face)
            return [face]

    from training.evaluate_sync import clip_pictures

    truth = clip_pictures(clip, SIZE)
    paint_clip(Parts(Watching(), Loudness(), Painter()), SIZE, clip, truth)  # type: ignore[arg-type]
    faces = torch.cat(seen)
    assert not faces[:, :3, 8:44, 4:44].any()
    assert (faces[:, 3:] - faces[:1, 3:]).abs().max() == 0


@pytest.mark.parametrize("off", [0, 3, -3])
def test_sound_is_taken_from_later_when_asked(clips: list[Clip], off: int) -> None:
    from training.evaluate_sync import clip_pictures

    truth = clip_pictures(clips[0], SIZE)
    plain = paint_clip(parts(Painter()), SIZE, clips[0], truth)
    moved = paint_clip(parts(Painter()), SIZE, clips[0], truth, off=off)
    inner = slice(3, 47)
    expected = plain[inner.start + off : inner.stop + off]
    assert all(np.array_equal(a, b) for a, b in zip(moved[inner], expected, strict=True))


def test_correlation_of_little_or_unseen() -> None:
    wave = np.sin(np.arange(30.0))
    assert _correlation(wave, wave) == pytest.approx(1)
    assert _correlation(np.zeros(30), wave) == 0
    assert np.isnan(_correlation(wave, np.zeros(30)))
    holes = wave.copy()
    holes[5:10] = np.nan
    assert _correlation(holes, wave) == pytest.approx(1)
    holes[3:] = np.nan
    assert np.isnan(_correlation(holes, wave))


def test_the_mouth_s_region_lies_around_the_lips(clips: list[Clip]) -> None:
    rows, columns = _mouth(clips[0], 96)
    assert columns.start < 48 < columns.stop
    assert rows.start < 96 * 0.52 < rows.stop
    assert rows.stop <= 96
    assert score_clips._FAR_TICKS >= 10
