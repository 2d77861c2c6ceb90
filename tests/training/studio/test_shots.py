import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import BadMediaError
from engine.picture.video import read_rgb
from engine.speech.audio import load_speech
from training.studio import shots
from training.studio.dataset import Utterance, render_pairs
from training.studio.performance import idle_loop, perform
from training.studio.renderer import FrameSpec, Look
from training.studio.shots import Job, in_place_of, render_anchor, render_jobs, render_text, wall_of
from training.studio.visemes import VISEMES

CHARACTER = Path("White_F_1_Busi.glb")


class FakeStage:
    """Paints a grey picture, darker the wider the mouth; counts what it renders."""

    rendered = 0

    def __init__(self, character: Path, look: Look) -> None:
        self.look = look

    def __enter__(self) -> "FakeStage":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def render(self, specs: list[FrameSpec]) -> list[bytes]:
        FakeStage.rendered += len(specs)
        return [self._paint(spec) for spec in specs]

    def _paint(self, spec: FrameSpec) -> bytes:
        grey = 200 - round(100 * min(1.0, sum(spec.visemes.values())))
        picture = np.full((self.look.height, self.look.width, 3), grey, np.uint8)
        return cv2.imencode(".jpg", picture)[1].tobytes()


@pytest.fixture(autouse=True)
def fake_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeStage.rendered = 0
    monkeypatch.setattr(shots, "stage", FakeStage)


def jobs(folder: Path, count: int) -> list[Job]:
    return [(folder / f"{i:06d}.jpg", FrameSpec({})) for i in range(count)]


def test_a_stopped_job_goes_on_where_it_was(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    render_jobs(CHARACTER, Look(64, 64), jobs(tmp_path, 10), workers=2)
    render_jobs(
        CHARACTER, Look(64, 64), jobs(tmp_path, 25), workers=3, progress=lambda *done: told.append(done)
    )
    assert FakeStage.rendered == 25
    assert told[0] == (10, 25)
    assert told[-1] == (25, 25)
    assert not list(tmp_path.glob("*.part"))


def test_a_talking_take_has_pictures_twins_truth_and_sound(tmp_path: Path) -> None:
    render_text(CHARACTER, "Papa, look!", "en-us", tmp_path, look=Look(64, 64))
    truth = json.loads((tmp_path / "truth.json").read_text())
    frames = sorted((tmp_path / "frames").iterdir())
    assert len(frames) == len(list((tmp_path / "idle").iterdir())) == len(truth["visemes"]["MPB"])
    assert set(truth["visemes"]) == set(VISEMES)
    assert set(truth["head_pose"]) == {"pitch", "yaw", "roll"}
    assert max(truth["visemes"]["MPB"]) > 0.95
    pictures = list(read_rgb(tmp_path / "video.mp4"))
    assert len(pictures) == len(frames)
    assert abs(load_speech(tmp_path / "video.mp4").size / 640 - len(frames)) < 3
    opening = np.sum([truth["visemes"][name] for name in VISEMES], axis=0)
    darkness = [-float(picture.mean()) for picture in pictures]
    assert np.corrcoef(opening, darkness)[0, 1] > 0.9


def test_nothing_to_say_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="nothing to say"):
        render_text(CHARACTER, " ", "en-us", tmp_path)


def test_an_anchor_is_a_silent_video(tmp_path: Path) -> None:
    render_anchor(CHARACTER, tmp_path / "anchor.mp4", seconds=2, look=Look(64, 64))
    assert len(list(read_rgb(tmp_path / "anchor.mp4"))) == 50


def test_the_anchor_s_motion_repeats_under_a_longer_take() -> None:
    take = perform(np.ones((30, len(VISEMES)), np.float32), 1)
    loop = idle_loop(12, 2)
    moved = in_place_of(take, loop)
    np.testing.assert_array_equal(moved.head[13], loop.head[1])
    np.testing.assert_array_equal(moved.mouth, take.mouth)


def test_a_character_keeps_its_wall() -> None:
    assert wall_of(CHARACTER, Look(8, 8)) == wall_of(CHARACTER, Look(8, 8))


def test_pairs_name_their_moment_and_code(tmp_path: Path) -> None:
    mouth = np.random.default_rng(0).random((50, len(VISEMES))).astype(np.float32)
    corpus = [Utterance(Path("a.flac"), mouth)]
    render_pairs(CHARACTER, corpus, tmp_path, pairs=10, seed=1)
    records = json.loads((tmp_path / CHARACTER.stem / "pairs.json").read_text())["pairs"]
    assert len(records) == 10
    for record in records:
        for kind in ("idle", "speaking"):
            assert (tmp_path / CHARACTER.stem / f"{record['name']}-{kind}.jpg").is_file()
        if record["speech"]:
            np.testing.assert_allclose(record["code"], mouth[record["tick"]], atol=1e-4)
    rendered = FakeStage.rendered
    render_pairs(CHARACTER, corpus, tmp_path, pairs=10, seed=1)
    assert FakeStage.rendered == rendered


def test_pairs_need_speech(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="could be aligned"):
        render_pairs(CHARACTER, [], tmp_path, pairs=10, seed=1)


def test_the_matte_of_an_anchor_is_the_same_motion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[bool, list[FrameSpec]]] = []

    class Noted(FakeStage):
        def render(self, specs: list[FrameSpec]) -> list[bytes]:
            shown.append((self.look.matte, specs))
            return super().render(specs)

    monkeypatch.setattr(shots, "stage", Noted)
    for name, matte in (("anchor", False), ("matte", True)):
        render_anchor(
            CHARACTER, tmp_path / f"{name}.mp4", seconds=2, look=Look(64, 64), matte=matte, seed=5, workers=1
        )
    colour, grey = ([spec for m, specs in shown if m is matte for spec in specs] for matte in (False, True))
    assert colour == grey
    assert len(list(read_rgb(tmp_path / "matte.mp4"))) == len(colour) == 50
