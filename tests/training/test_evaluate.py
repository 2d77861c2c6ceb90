"""Presenters judged: the live core for real, only the studio's browser is played by painted faces."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.evaluate
from engine.anchor.package import Avatar
from engine.errors import BadMediaError
from engine.picture.video import read_rgb
from engine.picture.yuv import to_rgb
from engine.speech.audio import SAMPLES_PER_TICK, load_speech
from tests.fakes import FRAME_SIZE, FakeMouth, FakeTracker, paint_face, speech_like
from tests.films import write
from training.clips import read_wave, write_wave
from training.evaluate import judge, paired, present, silence, write_idle
from training.split import is_held_out_speaker

SECONDS = 1.2
FRAMES = 30


def studio(character: Path, speech: Path, output: Path, **options: Any) -> None:
    """Paints the face of the fake presenter, its mouth as open as the sound is loud."""
    samples = read_wave(speech)
    ticks = samples[: samples.size // SAMPLES_PER_TICK * SAMPLES_PER_TICK].reshape(-1, SAMPLES_PER_TICK)
    gapes = np.sqrt(np.mean(ticks**2, axis=1))
    write(output / "video.mp4", [paint_face(*FRAME_SIZE, gape=float(0.5 * gape)) for gape in gapes], samples)
    if options["progress"] is not None:
        options["progress"](1, 2)
        options["progress"](2, 2)
    assert options["motion"] == "anchor"
    assert options["twins"] is False


@pytest.fixture(autouse=True)
def _painted_studio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluate, "render_speech", studio)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of two held-out speakers and of one who is not."""
    folder = tmp_path_factory.mktemp("speech")
    names = [Path(f"corpus-{number}-1-1.wav") for number in range(60)]
    out = [name for name in names if is_held_out_speaker(name)][:2]
    seen = next(name for name in names if not is_held_out_speaker(name))
    return [
        write_wave(folder / name, speech_like(1.5, seed)) for seed, name in enumerate([out[0], seen, out[1]])
    ]


def test_each_held_out_recording_has_truth_live_and_idle(
    avatar: Avatar, speech: list[Path], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    found = present(
        avatar, Path("a.glb"), speech, tmp_path, mouth=FakeMouth(), seed=3, seconds=SECONDS,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert [one.name for one in found] == [speech[0].stem, speech[2].stem]
    for one, file in zip(found, (speech[0], speech[2]), strict=True):
        assert one.anchor is not None
        assert one.place is not None
        assert len(one.place.crops) == FRAMES
        for video in (one.truth, one.generated, one.anchor):
            assert sum(1 for _ in read_rgb(video)) == FRAMES
            assert load_speech(video).size == pytest.approx(SECONDS * 16000, abs=1100)
        heard = read_wave(tmp_path / one.name / "speech.wav")
        assert heard.size == SECONDS * 16000
        assert np.abs(heard - load_speech(file)[: heard.size]).max() < 1e-3
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_one_held_out_speaker_is_too_few(avatar: Avatar, speech: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="fewer than two held-out speakers"):
        present(avatar, Path("a.glb"), speech[:2], tmp_path, mouth=FakeMouth(), seed=3)


def test_the_idle_video_is_the_anchor_in_walking_order(avatar: Avatar, tmp_path: Path) -> None:
    walk = write_idle(avatar, speech_like(0.5), tmp_path / "idle.mp4")
    assert walk == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6]
    pictures = list(read_rgb(tmp_path / "idle.mp4"))
    assert len(pictures) == len(walk)
    for picture, frame in zip(pictures, walk, strict=True):
        assert np.abs(picture.astype(int) - to_rgb(avatar.frame(frame))).mean() < 3


def test_silence_leaves_the_mouth_as_the_idle_loop_has_it(avatar: Avatar, tmp_path: Path) -> None:
    quiet, idle = silence(avatar, tmp_path, FakeMouth(), FakeTracker)
    assert quiet == pytest.approx(idle, abs=0.01)
    assert sum(1 for _ in read_rgb(tmp_path / "silence.mp4")) == 50
    assert not read_wave(tmp_path / "silence.wav").any()


def test_a_verdict_is_written_with_its_pictures(avatar: Avatar, speech: list[Path], tmp_path: Path) -> None:
    verdict = judge(
        avatar, Path("a.glb"), speech, tmp_path,
        mouth=FakeMouth(), seed=3, seconds=SECONDS, new_tracker=FakeTracker,
    )  # fmt: skip
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["summary"] == verdict.summary()
    assert set(written["recordings"]) == {speech[0].stem, speech[2].stem}
    wanted = {"psnr_mouth", "gmsd_mouth", "jaw_r_worst", "swapped_jaw_r", "silence_aperture", "idle_aperture"}
    assert wanted <= set(written["summary"])
    assert verdict.summary()["psnr_mouth"] > 9
    assert verdict.summary()["jaw_r_worst"] <= verdict.summary()["jaw_r"]
    assert (tmp_path / "sheet.jpg").stat().st_size > 5000


def test_finished_videos_are_paired_in_order() -> None:
    found = paired([Path("a/x.mp4"), Path("b/y.mp4")], [Path("1.mp4"), Path("2.mp4")])
    assert [(one.name, one.generated.name, one.anchor, one.place) for one in found] == [
        ("x", "1.mp4", None, None),
        ("y", "2.mp4", None, None),
    ]
    same = paired([Path("a/x.mp4"), Path("b/x.mp4")], [Path("1.mp4"), Path("2.mp4")], [Path("3"), Path("4")])
    assert [one.name for one in same] == ["0 x", "1 x"]
    assert same[1].anchor == Path("4")


@pytest.mark.parametrize(
    ("truths", "generated", "anchors"), [(0, 0, 0), (1, 0, 0), (2, 1, 0), (2, 2, 1), (0, 1, 0)]
)
def test_lists_that_do_not_go_together_are_refused(truths: int, generated: int, anchors: int) -> None:
    paths = [Path(f"{k}.mp4") for k in range(3)]
    with pytest.raises(BadMediaError, match=f"{truths} true, {generated} generated and {anchors} untouched"):
        paired(paths[:truths], paths[:generated], paths[:anchors])
