"""`koubo evaluate report` and `check`: what they refuse, and one true run of each."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from commands.evaluate import app
from engine.errors import KouboError
from engine.picture.video import read_rgb
from engine.speech.audio import load_speech
from tests.films import write


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Give --avatar with --character and --speech, or --truth with --generated"),
        (["--avatar", "ada"], "Give --avatar with --character and --speech"),
        (["--avatar", "ada", "--truth", "a.mp4"], "either a presenter"),
        (["--truth", "a.mp4"], "1 true, 0 generated"),
        (["--generated", "a.mp4"], "0 true, 1 generated"),
    ],
)
def test_a_report_of_nothing_or_of_two_things_is_refused(
    options: list[str], message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["report", "--output", str(tmp_path / "out"), *options])
    assert isinstance(result.exception, KouboError)
    assert message in str(result.exception)
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.slow
def test_a_filmed_person_against_the_same_two_pictures_late(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOUBO_DATA", str(data_folder))
    clip = data_folder / "clips" / "hdtf-RD_Radio34_000.mp4"
    pictures, samples = list(islice(read_rgb(clip), 52)), load_speech(clip)
    truth = write(tmp_path / "truth.mp4", pictures, samples)
    late = write(tmp_path / "late.mp4", [pictures[0]] * 2 + pictures[:-2], samples)
    videos = ["--truth", str(truth), "--generated", str(late)]
    result = CliRunner().invoke(app, ["report", *videos, "--output", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["title"] == "truth"
    assert written["summary"]["lag_frames"] == 2
    assert written["summary"]["sharpness_ratio"] == pytest.approx(1, abs=0.1)
    assert written["recordings"]["truth"]["truth"]["jaw_r"] == pytest.approx(1)
    assert np.isclose(written["recordings"]["truth"]["truth"]["psnr_mouth"], 60)
    assert (tmp_path / "out" / "index.html").is_file()
