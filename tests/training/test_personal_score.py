"""Which of two mouths is better, and by what."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.package import Avatar
from engine.mouth.runtime import Features
from engine.speech.mel import Mel
from tests.fakes import FakeMouth, FakeTracker
from tests.training.personal import SMALL, film_person, make_person
from training import personal_data as data
from training.clips import Clip, read_clip
from training.personal_filmed import Filmed, read_filmed, write_filmed
from training.personal_score import RULES, PersonalScore, Rule, decide, mouth_square, paint, score

GOOD = PersonalScore(
    psnr_mouth=29.0,
    ssim_mouth=0.86,
    gmsd_mouth=0.09,
    sharpness_ratio=0.8,
    jaw_r=0.8,
    aperture_r=0.8,
    pucker_r=0.6,
    lag_frames=0.0,
    swapped_jaw_r=0.1,
    silence_aperture=0.002,
    flicker_ratio=0.8,
    seam_luma=1.0,
)


class ShutMouth(FakeMouth):
    """Hears nothing: the face stays as it was."""

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces without a mouth."""
        return super().decode(np.full_like(mels, -4), features)


class RestlessMouth(FakeMouth):
    """Opens and shuts by itself, whatever is said."""

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces with a mouth of chance."""
        random = np.random.default_rng(len(self.mels))
        levels = random.uniform(-4, 0, (len(mels), 1, 1)).astype(np.float32)
        return super().decode(np.broadcast_to(levels, mels.shape).copy(), features)


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return Avatar.load(make_person(tmp_path_factory.mktemp("person")))


@pytest.fixture(scope="module")
def held(avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Clip], list[Filmed]]:
    """What was kept of a film."""
    root = tmp_path_factory.mktemp("held")
    footage = data.read_footage(film_person(root / "me.mp4", 14.0), FakeTracker, None)
    _, judge = data.split([footage])
    data.write_clips(judge, data.resting_faces(avatar, FakeTracker), root / "clips")
    filmed = [Filmed(*data.truth_of(part), data.filmed_mouths(part, SMALL.size)) for part in judge]
    return [read_clip(path) for path in sorted((root / "clips").iterdir())], filmed


@pytest.fixture(scope="module")
def scores(avatar: Avatar, held: tuple[list[Clip], list[Filmed]]) -> dict[str, PersonalScore]:
    kinds = {"listening": FakeMouth, "shut": ShutMouth, "restless": RestlessMouth}
    return {name: score(avatar, kind(SMALL.size), *held, FakeTracker) for name, kind in kinds.items()}


def test_a_mouth_that_listens_is_told_from_one_that_does_not(scores: dict[str, PersonalScore]) -> None:
    listening, shut, restless = (scores[name] for name in ("listening", "shut", "restless"))
    assert listening.jaw_r > 0.4
    assert listening.aperture_r > 0.4
    assert listening.lag_frames <= 1
    assert listening.swapped_jaw_r < listening.jaw_r - 0.3
    assert abs(restless.jaw_r) < 0.35
    assert not shut.jaw_r > 0.5  # nothing moves, or nothing that fits
    assert listening.ssim_mouth > max(shut.ssim_mouth, restless.ssim_mouth)
    assert listening.psnr_mouth > restless.psnr_mouth
    assert restless.flicker_ratio > listening.flicker_ratio
    assert restless.silence_aperture >= listening.silence_aperture


def test_the_better_mouth_wins_and_the_worse_does_not(scores: dict[str, PersonalScore]) -> None:
    assert decide(scores["restless"], scores["listening"], 2.5).better
    refused = decide(scores["listening"], scores["restless"], 2.5)
    assert not refused.better
    assert {"jaw_r", "aperture_r"} <= set(refused.worse)
    assert "jaw_r" in refused.why
    assert not decide(scores["listening"], scores["listening"], 2.5).better


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_measure_counts_in_its_direction(rule: Rule) -> None:
    """And worse by more than it is allowed is a veto."""
    at = getattr(GOOD, rule.name)
    upwards = 1 if rule.best is not None or rule.unit > 0 else -1
    better = replace(GOOD, **{rule.name: at + upwards * abs(rule.unit) / 2})
    assert decide(GOOD, better, 30.0).score > 0
    for share, veto in ((0.8, False), (1.2, True)):
        worse = decide(GOOD, replace(GOOD, **{rule.name: at - upwards * share * rule.allowed}), 30.0)
        assert worse.score < 0
        assert worse.worse == ([rule.name] if veto else [])


def test_one_clear_loss_is_a_veto_whatever_else_is_won() -> None:
    won = replace(GOOD, psnr_mouth=31.0, ssim_mouth=0.9, gmsd_mouth=0.07, sharpness_ratio=0.95)
    assert decide(GOOD, won, 30.0).better
    for name, value in (("jaw_r", 0.7), ("silence_aperture", 0.02), ("lag_frames", 2.0), ("seam_luma", 2.0)):
        decision = decide(GOOD, replace(won, **{name: value}), 30.0)
        assert not decision.better
        assert decision.worse == [name]
        assert name in decision.why


def test_a_mouth_that_fits_any_sound_is_refused() -> None:
    """Lips that agree with another moment's as well as with their own follow the head, not the voice."""
    leaking = replace(GOOD, jaw_r=0.95, aperture_r=0.95, swapped_jaw_r=0.95)
    assert decide(GOOD, leaking, 30.0).worse == ["swapped_jaw_r"]
    assert decide(GOOD, replace(leaking, swapped_jaw_r=0.15), 30.0).better


def test_a_breath_of_gain_is_none() -> None:
    hardly = replace(GOOD, psnr_mouth=29.05)
    decision = decide(GOOD, hardly, 30.0)
    assert not decision.better
    assert decision.worse == []
    assert "not clearly better" in decision.why


def test_short_speech_allows_chance_more() -> None:
    after = replace(GOOD, psnr_mouth=31.0, ssim_mouth=0.9, gmsd_mouth=0.07, jaw_r=0.75)
    assert not decide(GOOD, after, 30.0).better
    assert decide(GOOD, after, 1.5).better


def test_what_nobody_knows_decides_nothing() -> None:
    """NaN where nothing moves."""
    unknown = replace(GOOD, pucker_r=float("nan"))
    assert decide(unknown, replace(GOOD, psnr_mouth=30.0), 30.0).better
    assert decide(GOOD, replace(GOOD, psnr_mouth=31.0, pucker_r=float("nan")), 30.0).better


def test_painting_keeps_what_speech_does_not_change(held: tuple[list[Clip], list[Filmed]]) -> None:
    clips, _ = held
    idle, painted, truth = paint(clips[0], FakeMouth(SMALL.size))
    assert idle.shape == (SMALL.size, SMALL.size, 3)
    assert painted.shape == truth.shape == (clips[0].card.frames, *idle.shape)
    assert np.abs(painted[:, :6].astype(int) - idle[:6]).max() <= 1


def test_the_mouths_square_holds_the_lips(avatar: Avatar) -> None:
    rows, columns = mouth_square(avatar)
    left, top, right, bottom = (round(value * avatar.crop_size) for value in avatar.card.mouth_box)
    assert rows.start < top
    assert rows.stop > bottom + 2  # they open downwards
    assert columns.start < left
    assert columns.stop > right


def test_what_was_filmed_comes_back_as_it_was(held: tuple[list[Clip], list[Filmed]], tmp_path: Path) -> None:
    _, (one,) = held
    one.faces.faces[3] = None
    write_filmed(tmp_path / "a" / "000.npz", one)
    back = read_filmed(tmp_path / "a" / "000.npz")
    assert back.faces.size == one.faces.size
    assert back.faces.faces[3] is None
    first, again = one.faces.faces[0], back.faces.faces[0]
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.landmarks, again.landmarks)
    assert again.blendshapes["jawOpen"] == pytest.approx(first.blendshapes["jawOpen"])
    np.testing.assert_array_equal(one.samples, back.samples)
    assert all(np.array_equal(a, b) for a, b in zip(one.mouths, back.mouths, strict=True))
