import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import BadMediaError, KouboError
from engine.speech.audio import SAMPLES_PER_TICK, load_speech
from tests.fakes import speech_like, write_sound
from tests.training.pairs import write_pairs
from training import checkpoint
from training.clips import CARD, Clip, decode, read_clip
from training.evaluate_sync import clip_pictures
from training.models.generator import Parts
from training.models.presets import preset
from training.picture_data import cut, read_pairs
from training.studio.dataset import Utterance
from training.studio.painted import paint_clips
from training.studio.takes import LEAD
from training.studio.visemes import VISEMES

PLAN = preset("lite96")


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained picture side that paints something for each code."""
    torch.manual_seed(0)
    parts = Parts.create(PLAN)
    for film in parts.decoder.films.parameters():
        torch.nn.init.normal_(film, std=0.3)
    torch.nn.init.normal_(list(parts.decoder.output.parameters())[-2], std=0.05)
    path = tmp_path_factory.mktemp("painter") / "picture.safetensors"
    checkpoint.save(path, {"face": parts.face, "decoder": parts.decoder}, {"preset": PLAN.name})
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder, "Ada", 3)
    write_pairs(folder, "Bob", 2)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    path = write_sound(tmp_path_factory.mktemp("speech") / "s.wav", speech_like(2.0), 16_000)
    return [Utterance(path, np.random.default_rng(0).random((50, len(VISEMES))).astype(np.float32))]


def clips_of(output: Path) -> list[Clip]:
    return [read_clip(card.parent) for card in sorted(output.rglob(CARD))]


def test_painted_clips_have_code_sound_and_idle(
    painter: Path, pairs: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    paint_clips(
        painter, pairs, corpus, tmp_path, clips=2, frames=6, seed=1, progress=lambda *done: told.append(done)
    )
    clips = clips_of(tmp_path)
    assert [(clip.card.person, clip.name) for clip in clips] == [
        ("Ada", "0000"), ("Ada", "0001"), ("Bob", "0000"), ("Bob", "0001"),
    ]  # fmt: skip
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    whole = load_speech(corpus[0].path)
    for clip in clips:
        start = round(clip.card.start_s * 25)
        np.testing.assert_allclose(clip.card.code, corpus[0].mouth[start : start + 6], atol=1e-4)  # type: ignore[arg-type]
        heard = clip.samples[LEAD * SAMPLES_PER_TICK :][: 6 * SAMPLES_PER_TICK]
        np.testing.assert_allclose(heard, whole[start * SAMPLES_PER_TICK :][: heard.size], atol=1e-3)
        assert clip.idle is not None
        assert decode(clip.idle).shape == (clip.card.size, clip.card.size, 3)


def test_the_painting_lies_where_the_crop_is(
    painter: Path, pairs: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    """Around the network's own square the idle picture stays; cut again, that square is the painting."""
    paint_clips(painter, pairs, corpus, tmp_path, clips=1, frames=5, seed=2)
    for clip in clips_of(tmp_path):
        assert clip.idle is not None
        wide, first = decode(clip.idle).astype(int), decode(clip.pictures[0]).astype(int)
        edge = (clip.card.size - PLAN.size) // 2
        assert edge > 0
        assert clip.card.margin == pytest.approx(clip.card.size / PLAN.size)
        change = np.abs(first - wide).mean(axis=2)
        inside = np.zeros(change.shape, np.bool_)
        inside[edge:-edge, edge:-edge] = True
        assert change[~inside].mean() < 0.3 * change[inside].mean()  # JPEG lets a little across
        assert clip_pictures(clip, PLAN.size)[0].shape == (PLAN.size, PLAN.size, 3)
    idle = [cut(pair, PLAN.size)[0].astype(int) for pair in read_pairs(pairs)]
    for clip in clips_of(tmp_path):
        assert clip.idle is not None
        inner = decode(clip.idle)[edge : edge + PLAN.size, edge : edge + PLAN.size].astype(int)
        assert min(float(np.abs(inner - one).mean()) for one in idle) < 4


def test_pictures_differ_as_their_codes_do(
    painter: Path, pairs: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    paint_clips(painter, pairs, corpus, tmp_path, clips=1, frames=6, seed=3)
    pictures = [decode(picture).astype(int) for picture in clips_of(tmp_path)[0].pictures]
    assert all(np.abs(a - b).mean() > 0.05 for a, b in itertools.pairwise(pictures))


def test_a_stopped_job_paints_only_what_is_missing(
    painter: Path, pairs: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    paint_clips(painter, pairs, corpus, tmp_path / "two", clips=2, frames=5, seed=4)
    paint_clips(painter, pairs, corpus, tmp_path / "one", clips=1, frames=5, seed=4)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*.jpg")}
    paint_clips(painter, pairs, corpus, tmp_path / "one", clips=2, frames=5, seed=4)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    for mine, theirs in zip(clips_of(tmp_path / "one"), clips_of(tmp_path / "two"), strict=True):
        assert mine.card == theirs.card
        assert mine.pictures == theirs.pictures


def test_what_cannot_paint_is_told(
    painter: Path, pairs: Path, corpus: list[Utterance], tmp_path: Path
) -> None:
    with pytest.raises(KouboError, match="no checkpoint"):
        paint_clips(tmp_path / "none.safetensors", pairs, corpus, tmp_path, clips=1)
    seed = tmp_path / "seed.safetensors"
    parts = Parts.create(preset("seed96"))
    checkpoint.save(seed, {"face": parts.face, "decoder": parts.decoder}, {"preset": "seed96"})
    with pytest.raises(KouboError, match="no mouth code"):
        paint_clips(seed, pairs, corpus, tmp_path / "o", clips=1)
    with pytest.raises(BadMediaError, match="koubo studio dataset"):
        paint_clips(painter, tmp_path, corpus, tmp_path / "o", clips=1)
    with pytest.raises(BadMediaError, match="could be aligned"):
        paint_clips(painter, pairs, [], tmp_path / "o", clips=1)
    assert not (tmp_path / "o").exists()
