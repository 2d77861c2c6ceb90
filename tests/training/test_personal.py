"""A small mouth adapted to a painted person."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.anchor.package import Avatar
from engine.errors import KouboError
from tests.fakes import FakeTracker
from tests.training.personal import BLIND, SMALL, film_person, make_person
from tests.training.test_train_sync import stop_after
from training import checkpoint, loop
from training import personal_data as data
from training.clip_data import ClipData, read_clips
from training.clips import read_card
from training.exported import load_exported
from training.models.audio import CODE
from training.models.generator import Parts
from training.personal import RECIPE, PersonalRun, train_personal
from training.personal_codes import fit_codes

pytestmark = pytest.mark.usefixtures("presets_known")


@pytest.fixture(scope="module")
def written(small_mouths: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of a painted person, without codes."""
    root = tmp_path_factory.mktemp("clips")
    avatar = Avatar.load(make_person(root, small_mouths / SMALL.name))
    footage = data.read_footage(film_person(root / "me.mp4", 6.0), FakeTracker, None)
    learn, _ = data.split([footage])
    data.write_clips(learn, data.resting_faces(avatar, FakeTracker), root / "clips")
    return root / "clips"


@pytest.fixture
def clips(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "clips")


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells and saves after each step."""
    monkeypatch.setattr(loop, "_REPORT_EVERY", 1)
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", -1.0)


def quiet(share: float, figures: dict[str, float]) -> None:
    pass


def weights(file: Path) -> Parts:
    parts = Parts.create(SMALL)
    checkpoint.load_trained(file, parts.named())
    return parts


def flat(parts: Parts) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, network in parts.named().items()
        for key, value in network.state_dict().items()
    }


def test_face_and_decoder_learn_the_ear_does_not(small_mouths: Path, clips: Path, tmp_path: Path) -> None:
    mouth = small_mouths / SMALL.name
    _, before = load_exported(mouth)
    file = train_personal(mouth, clips, PersonalRun(tmp_path / "run", 0, quiet, steps=6))
    old, new = flat(before), flat(weights(file))
    moved = {key.split(".")[0] for key in old if not torch.equal(old[key], new[key])}
    assert moved == {"face", "decoder"}
    running = [key for key in old if "running" in key]
    assert running
    assert all(torch.equal(old[key], new[key]) for key in running)


def test_a_killed_run_goes_on_where_it_was(small_mouths: Path, clips: Path, tmp_path: Path) -> None:
    mouth = small_mouths / SMALL.name
    whole = train_personal(mouth, clips, PersonalRun(tmp_path / "whole", 0, quiet, steps=6))
    with pytest.raises(KeyboardInterrupt):
        train_personal(mouth, clips, PersonalRun(tmp_path / "cut", 0, stop_after(1), steps=6))
    cut = train_personal(mouth, clips, PersonalRun(tmp_path / "cut", 0, quiet, steps=6))
    first, second = flat(weights(whole)), flat(weights(cut))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_lips_are_read_once(small_mouths: Path, clips: Path) -> None:
    """Every clip gets a code in [0, 1] for each picture; what has one is left alone."""
    _, parts = load_exported(small_mouths / SMALL.name)
    folders = sorted(clips.iterdir())
    told: list[tuple[int, int]] = []
    gain = fit_codes([clips], parts, SMALL.size, lambda done, total: told.append((done, total)))
    assert gain >= 0
    assert told[-1] == (len(folders), len(folders))
    for folder in folders:
        code = np.array(read_card(folder).code)
        assert code.shape == (read_card(folder).frames, CODE)
        assert code.min() >= 0
        assert code.max() <= 1
    assert fit_codes([clips], parts, SMALL.size, lambda done, total: told.append((done, total))) == 0
    assert len(told) == -(-len(folders) // 4)


def test_fitted_codes_are_what_the_batches_hold(small_mouths: Path, clips: Path) -> None:
    _, parts = load_exported(small_mouths / SMALL.name)
    batch = ClipData(read_clips([clips]), SMALL.size).talk_batch(2, 2, np.random.default_rng(0))
    assert not batch.known.any()
    fit_codes([clips], parts, SMALL.size)
    batch = ClipData(read_clips([clips]), SMALL.size).talk_batch(2, 2, np.random.default_rng(0))
    assert batch.known.all()
    assert batch.still


def test_networks_learn_again_after_the_fit(small_mouths: Path, clips: Path) -> None:
    _, parts = load_exported(small_mouths / SMALL.name)
    fit_codes([clips], parts, SMALL.size)
    assert all(p.requires_grad for network in parts.named().values() for p in network.parameters())
    assert all(p.grad is None for network in parts.named().values() for p in network.parameters())


@pytest.mark.slow
def test_the_loss_falls(small_mouths: Path, clips: Path, tmp_path: Path) -> None:
    """Fifty turns from a random mouth come nearer to the person's pictures."""
    mouth = small_mouths / SMALL.name

    def distance(parts: Parts) -> float:
        for network in parts.named().values():
            network.eval()
        data_ = ClipData(read_clips([clips]), SMALL.size)
        batch = data_.talk_batch(6, 2, np.random.default_rng(3))
        with torch.no_grad():
            skips = [skip.repeat_interleave(5, dim=0) for skip in parts.face(batch.face)]
            return float((parts.decoder(parts.ear(batch.mel), skips) - batch.target).abs().mean())

    _, before = load_exported(mouth)
    recipe = replace(RECIPE, rate=4e-3)
    file = train_personal(mouth, clips, PersonalRun(tmp_path / "run", 0, quiet, steps=100), recipe)
    assert distance(weights(file)) < 0.8 * distance(before)


def test_a_mouth_that_cannot_be_adapted_is_refused(small_mouths: Path, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="lite192"):
        train_personal(small_mouths / BLIND.name, clips, PersonalRun(tmp_path / "run", 0, quiet, steps=2))


def test_the_discriminator_takes_its_turns(small_mouths: Path, clips: Path, tmp_path: Path) -> None:
    told: list[set[str]] = []
    run = PersonalRun(tmp_path / "run", 0, lambda _, figures: told.append(set(figures)), steps=4)
    train_personal(small_mouths / SMALL.name, clips, run)
    assert any("painted taken for true" in figures for figures in told)
