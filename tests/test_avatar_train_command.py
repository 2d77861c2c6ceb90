"""`koubo avatar train` as a user meets it: mistakes in one sentence, and a real course from end to end."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.anchor.footage import remember_footage
from engine.anchor.package import Avatar
from engine.mouth.sheet import file_hash
from tests.fakes import make_avatar

ROOT = Path(__file__).parents[1]


def koubo(*words: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "koubo", "avatar", "train", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout, check=False)


def complaint(*words: str | Path) -> str:
    done = koubo(*words)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("koubo:")]
    assert len(sentences) == 1
    return sentences[0]


def test_an_unknown_avatar_is_named() -> None:
    assert "nobody" in complaint("nobody")


def test_a_shipped_avatar_stays_as_it_is() -> None:
    assert "comes with Koubo" in complaint("ada", "--footage", "me.mp4")


def test_footage_that_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    assert "--footage" in complaint(make_avatar(tmp_path, "mine"))


def test_footage_that_has_gone_is_named(tmp_path: Path) -> None:
    folder = make_avatar(tmp_path / "avatars", "mine")
    remember_footage(folder, tmp_path / "gone.mp4")
    mouth = file_hash(folder / "mouth" / "mouth_decoder.onnx")
    assert "gone.mp4" in complaint(folder, "--output", tmp_path / "work")
    assert "other.mp4" in complaint(
        folder, "--footage", tmp_path / "other.mp4", "--output", tmp_path / "work"
    )
    assert file_hash(folder / "mouth" / "mouth_decoder.onnx") == mouth


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    folder = make_avatar(tmp_path / "avatars", "mine")
    for name in ("work", "me.mp4"):
        (tmp_path / name).write_text("a file")
    assert "--output" in complaint(folder, "--footage", tmp_path / "me.mp4", "--output", tmp_path / "work")


@pytest.mark.slow
def test_a_filmed_person_from_video_to_verdict(data_folder: Path, tmp_path: Path) -> None:
    """Eight turns teach little; all steps run, the verdict is told, the avatar can be loaded."""
    clip = data_folder / "clips" / "syncnet-example.avi"
    consent = ("--consent-by", "a test", "--i-have-consent")
    made = ("--name", "me", *consent, "--matte", "none", "--output", str(tmp_path / "avatars"))
    create = [sys.executable, "-m", "koubo", "avatar", "create", str(clip), *made]
    subprocess.run(create, cwd=ROOT, timeout=600, check=True, capture_output=True)
    folder = tmp_path / "avatars" / "me"
    words = (folder, "--footage", clip, "--steps", "8", "--output", tmp_path / "work", "--json")
    done = koubo(*words, timeout=1800)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["why"]
    assert found["psnr_mouth"]["before"] > 15
    assert Avatar.load(folder).crop_size == 192
    assert (tmp_path / "work" / "sheet.jpg").is_file()
    same = koubo(*words, timeout=600)
    assert same.returncode == 0
    shutil.rmtree(tmp_path / "work")
