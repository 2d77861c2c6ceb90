"""Takes with a painted stage and a tracker that knows where the painted face is."""

import os
from pathlib import Path
from typing import ClassVar, Self

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.tracker import Face
from engine.errors import BadMediaError
from engine.speech.audio import SAMPLES_PER_TICK
from tests.fakes import FakeTracker, fake_landmarks, paint_face, speech_like, write_sound
from training.clips import CARD, MARGIN, Clip, decode, read_clip
from training.models.discriminator import FRAMES
from training.studio import shots, takes
from training.studio.dataset import Utterance
from training.studio.renderer import FrameSpec, Look, chromium
from training.studio.takes import LEAD, render_takes
from training.studio.visemes import VISEMES

CHARACTER = Path("White_F_1_Busi.glb")


class PaintedStage:
    """Paints the fake presenter, mouth as wide as the visemes say; remembers what it was asked for."""

    looks: ClassVar[list[Look]] = []
    specs: ClassVar[list[FrameSpec]] = []

    def __init__(self, character: Path, look: Look) -> None:
        self.look = look
        PaintedStage.looks.append(look)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def render(self, specs: list[FrameSpec]) -> list[bytes]:
        PaintedStage.specs += specs
        return [self._paint(spec) for spec in specs]

    def _paint(self, spec: FrameSpec) -> bytes:
        picture = paint_face(self.look.width, self.look.height, 0.08 * sum(spec.visemes.values()))
        return cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes()


class Tracker(FakeTracker):
    """The fake tracker as a context."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    PaintedStage.looks, PaintedStage.specs = [], []
    monkeypatch.setattr(shots, "stage", PaintedStage)
    monkeypatch.setattr(takes, "MediaPipeTracker", Tracker)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """One utterance of two seconds whose mouth says its tick."""
    folder = tmp_path_factory.mktemp("speech")
    path = write_sound(folder / "some-1-0.wav", speech_like(2.0), 16_000)
    mouth = np.zeros((50, len(VISEMES)), np.float32)
    mouth[:, 0] = np.linspace(0, 0.98, 50)
    return [Utterance(path, mouth)]


def clips_of(output: Path) -> list[Clip]:
    return [read_clip(card.parent) for card in sorted(output.rglob(CARD))]


def test_takes_are_clips(tmp_path: Path, corpus: list[Utterance]) -> None:
    render_takes(CHARACTER, corpus, tmp_path, takes=3, frames=6, seed=1)
    clips = clips_of(tmp_path)
    assert [clip.name for clip in clips] == ["0000", "0001", "0002"]
    for clip in clips:
        card = clip.card
        assert (card.person, card.source, card.frames) == (CHARACTER.stem, "some-1-0.wav", 6)
        assert (card.margin, card.lead, card.idle) == (MARGIN, LEAD, True)
        assert clip.samples.size == (6 + 2 * LEAD) * SAMPLES_PER_TICK
        assert decode(clip.pictures[0]).shape == (card.size, card.size, 3)
        assert card.frames >= FRAMES
    assert not list(tmp_path.rglob("render"))
    assert not list(tmp_path.rglob("*.part"))


def test_code_sound_and_moment_agree(tmp_path: Path, corpus: list[Utterance]) -> None:
    from engine.speech.audio import load_speech

    render_takes(CHARACTER, corpus, tmp_path, takes=3, frames=6, seed=2)
    whole = load_speech(corpus[0].path)
    for clip in clips_of(tmp_path):
        start = round(clip.card.start_s * 25)
        assert clip.card.code is not None
        np.testing.assert_allclose(clip.card.code, corpus[0].mouth[start : start + 6], atol=1e-4)
        middle = clip.samples[LEAD * SAMPLES_PER_TICK :][: 6 * SAMPLES_PER_TICK]
        truth = whole[start * SAMPLES_PER_TICK :][: 6 * SAMPLES_PER_TICK]
        np.testing.assert_allclose(middle, truth, atol=1e-3)


def test_the_head_is_held_and_only_the_mouth_moves(tmp_path: Path, corpus: list[Utterance]) -> None:
    render_takes(CHARACTER, corpus, tmp_path, takes=1, frames=6, seed=3, workers=1)
    idle, *speaking = PaintedStage.specs
    assert all(spec.bones == idle.bones and spec.face == idle.face for spec in speaking)
    assert idle.visemes == {}
    openings = [sum(spec.visemes.values()) for spec in speaking]
    assert openings == sorted(openings)
    (clip,) = clips_of(tmp_path)
    assert clip.idle is not None
    still, last = decode(clip.idle).astype(int), decode(clip.pictures[-1]).astype(int)
    x, y = (round(value * clip.card.size) for value in clip.card.lips[0])
    change = np.abs(last - still).mean(axis=2)
    assert change[: clip.card.size // 5].mean() < 2
    if openings[-1] > 0.2:
        assert change[y - 10 : y + 10, x - 10 : x + 10].mean() > 10


def test_the_crop_is_the_house_s_with_a_margin(tmp_path: Path, corpus: list[Utterance]) -> None:
    from engine.anchor.crop import crop_from_landmarks

    render_takes(CHARACTER, corpus, tmp_path, takes=1, frames=5, seed=4)
    (clip,) = clips_of(tmp_path)
    look = PaintedStage.looks[0]
    landmarks = fake_landmarks(look.width, look.height)
    crop = crop_from_landmarks(landmarks)
    lips = landmarks[[61, 291, 0, 17]].mean(axis=0)
    expected = [
        0.5 + (lips[0] - crop.cx) / crop.size / MARGIN,
        0.5 + (lips[1] - crop.cy) / crop.size / MARGIN,
    ]
    assert clip.card.lips[0] == pytest.approx(expected, abs=1e-3)


def test_a_stopped_job_renders_only_what_is_missing(tmp_path: Path, corpus: list[Utterance]) -> None:
    render_takes(CHARACTER, corpus, tmp_path, takes=2, frames=5, seed=5)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    PaintedStage.specs = []
    render_takes(CHARACTER, corpus, tmp_path, takes=3, frames=5, seed=5)
    assert len(PaintedStage.specs) == 6
    assert all(path.read_bytes() == content for path, content in first.items())
    PaintedStage.specs = []
    render_takes(CHARACTER, corpus, tmp_path, takes=3, frames=5, seed=5)
    assert PaintedStage.specs == []


def test_cameras_change_and_presenters_keep_theirs(
    tmp_path: Path, corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takes, "_TAKES_A_SHOT", 2)
    render_takes(CHARACTER, corpus, tmp_path / "a", takes=3, frames=5, seed=6, workers=1)
    assert len({repr(look) for look in PaintedStage.looks}) == 2
    PaintedStage.looks = []
    render_takes(CHARACTER, corpus, tmp_path / "b", takes=3, frames=5, seed=6, workers=1, presenter=True)
    assert len({repr(look) for look in PaintedStage.looks}) == 1


def test_a_face_that_is_not_found_makes_no_clip(
    tmp_path: Path, corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(Tracker):
        def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
            return None

    monkeypatch.setattr(takes, "MediaPipeTracker", Blind)
    render_takes(CHARACTER, corpus, tmp_path, takes=1, frames=5, seed=7)
    assert not list(tmp_path.rglob(CARD))


@pytest.mark.parametrize("length", [0, 10])
def test_speech_that_is_too_short_is_told(tmp_path: Path, length: int) -> None:
    corpus = [Utterance(Path("a.wav"), np.zeros((length, len(VISEMES)), np.float32))] if length else []
    with pytest.raises(BadMediaError, match="could be aligned"):
        render_takes(CHARACTER, corpus, tmp_path, takes=1, frames=10, seed=1)


@pytest.mark.slow
@pytest.mark.browser
def test_a_real_browser_renders_a_take(
    tmp_path: Path, corpus: list[Utterance], data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole path: three.js, MediaPipe, clip."""
    monkeypatch.undo()
    character = data_folder / "characters" / CHARACTER.name
    if not character.is_file():
        pytest.skip(f"needs {character}")
    chromium()
    assert os.environ.get("KOUBO_DATA") or data_folder.is_dir()
    render_takes(character, corpus, tmp_path, takes=1, frames=5, seed=8, presenter=True, workers=1)
    (clip,) = clips_of(tmp_path)
    x, y = clip.card.lips[0]
    assert 0.4 < x < 0.6
    assert 0.4 < y < 0.6
