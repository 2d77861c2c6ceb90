"""Footage of a character as a streamer films it."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadMediaError
from engine.picture.video import read_rgb
from engine.speech.audio import SAMPLE_RATE, Samples, load_speech
from tests.fakes import speech_like, write_sound
from tests.training.studio.test_shots import FakeStage
from training.studio import film, shots
from training.studio.film import FILM, render_film, write_script
from training.studio.phones import Phone
from training.studio.shots import PORTRAIT

CHARACTER = Path("White_F_1_Busi.glb")


@pytest.fixture(autouse=True)
def studio(monkeypatch: pytest.MonkeyPatch) -> None:
    """No browser; every recording of sound holds one long vowel in its second half."""

    def align(samples: Samples, _: Path) -> list[Phone]:
        length = samples.size / SAMPLE_RATE
        return [Phone("AA", length / 2, length)] if np.abs(samples).max() > 0.01 else []

    FakeStage.rendered = 0
    monkeypatch.setattr(shots, "stage", FakeStage)
    monkeypatch.setattr(film, "align_cached", align)


@pytest.fixture
def speech(tmp_path: Path) -> list[Path]:
    return [
        write_sound(tmp_path / f"{number}.wav", loud * speech_like(1.0, number), SAMPLE_RATE)
        for number, loud in enumerate((1.0, 0.2))
    ]


def test_recordings_follow_silence_and_each_other(speech: list[Path]) -> None:
    script = write_script(speech, 2.0)
    first, second = script.phones
    assert first.start == pytest.approx(2.5)
    assert second.start == pytest.approx(2.0 + 1.0 + 0.6 + 0.5)
    assert script.samples.size == round((2.0 + 2 * 1.6) * SAMPLE_RATE)
    assert not script.samples[: 2 * SAMPLE_RATE].any()


def test_recordings_are_equally_loud(speech: list[Path]) -> None:
    samples = write_script(speech, 0.0).samples
    second = round(1.6 * SAMPLE_RATE)
    peaks = [np.abs(part).max() for part in (samples[:SAMPLE_RATE], samples[second : second + SAMPLE_RATE])]
    assert peaks[0] == pytest.approx(peaks[1], rel=1e-3)


def test_a_film_has_pictures_truth_and_sound_and_goes_on(speech: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "film"
    render_film(CHARACTER, speech, output, silence_s=1.0)
    count = round((1.0 + 2 * 1.6) * 25)
    assert FakeStage.rendered == count
    pictures = [float(picture.mean()) for picture in read_rgb(output / "video.mp4")]
    assert len(pictures) == count
    assert pictures[45] < pictures[5] - 10  # the vowel, the silence
    assert load_speech(output / "video.mp4").size >= (count - 2) * 640
    truth = json.loads((output / "truth.json").read_text())
    assert len(truth["blink"]) == count
    assert not (output / "idle").exists()
    (output / "frames" / "000007.jpg").unlink()
    render_film(CHARACTER, speech, output, silence_s=1.0)
    assert FakeStage.rendered == count + 1


def test_silence_is_no_speech(tmp_path: Path) -> None:
    quiet = write_sound(tmp_path / "quiet.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    with pytest.raises(BadMediaError, match=r"quiet\.wav"):
        write_script([quiet], 1.0)


def test_the_face_is_as_large_as_in_an_anchor() -> None:
    scales = [look.height / np.tan(np.radians(look.fov) / 2) for look in (FILM, PORTRAIT)]
    assert scales[0] == pytest.approx(scales[1], rel=0.01)
