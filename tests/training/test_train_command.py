"""`koubo train` in this process: every mistake is one sentence and exit code 1, every option arrives."""

import os
import sys
from pathlib import Path

import pytest
import torch

import koubo
from tests.training.footage import talking
from tests.training.pairs import write_pairs
from training import checkpoint, train_sync, train_together
from training.models.discriminator import Discriminator
from training.models.presets import preset


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough a terminal, and no group of processes."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit code of `koubo train ...`."""
    monkeypatch.setattr(sys, "argv", ["koubo", "train", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        koubo.main()
    return int(left.value.code or 0)


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Complaint":
    return Complaint(monkeypatch, capsys)


class Complaint:
    """Runs a command that must fail and gives its one sentence."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = patch, capsys

    def __call__(self, *words: object) -> str:
        assert call(self._patch, *words) == 1
        shown = self._capsys.readouterr()
        assert "Traceback" not in shown.err
        lines = [line for line in shown.err.splitlines() if line.startswith("koubo:")]
        assert len(lines) == 1
        assert shown.out == ""
        return lines[0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    talking(folder, 1, 12, idle=True, coded=True)
    return folder


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("judge") / "sync.safetensors"
    checkpoint.save(path, {"discriminator": Discriminator(preset("seed96"))}, {"preset": "seed96"})
    return path


def test_no_folder_and_no_clips(complaint: Complaint, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        for command in ("sync", "generator"):
            sentence = complaint(command, "--data", tmp_path / name, "--output", tmp_path / "o")
            assert "clips" in sentence
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", ["sync", "generator"])
def test_an_unknown_preset(complaint: Complaint, clips: Path, tmp_path: Path, command: str) -> None:
    sentence = complaint(command, "--data", clips, "--output", tmp_path / "o", "--preset", "giant")
    assert "giant" in sentence
    assert "seed384" in sentence
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "shares",
    [
        ("--sync", "0.9", "--perceptual", "0.2"),
        ("--ms-ssim", "1.1"),
        ("--gradient", "-0.1"),
    ],
)
def test_impossible_shares(
    complaint: Complaint, clips: Path, tmp_path: Path, shares: tuple[str, ...]
) -> None:
    assert "shares" in complaint("generator", "--data", clips, "--output", tmp_path / "o", *shares)
    assert not (tmp_path / "o").exists()


def test_a_checkpoint_of_another_preset(
    complaint: Complaint, clips: Path, judge: Path, tmp_path: Path
) -> None:
    for name in (train_sync.CHECKPOINT, train_together.CHECKPOINT):
        (tmp_path / name).write_bytes(judge.read_bytes())
    assert "another preset (seed96)" in complaint(
        "sync", "--data", clips, "--output", tmp_path, "--preset", "lite96", "--steps", 1
    )
    assert "another preset (seed96)" in complaint(
        "generator", "--data", clips, "--output", tmp_path, "--preset", "lite96", "--discriminator", judge,
        "--together-steps", 1,
    )  # fmt: skip


def test_a_start_of_another_preset(complaint: Complaint, clips: Path, judge: Path, tmp_path: Path) -> None:
    from training.models.generator import Parts

    path = tmp_path / "old.safetensors"
    checkpoint.save(path, Parts.create(preset("seed96")).named(), {"preset": "seed96"})
    assert "another preset (seed96)" in complaint(
        "generator", "--data", clips, "--output", tmp_path / "o", "--preset", "lite96", "--start", path,
        "--discriminator", judge,
    )  # fmt: skip


def test_a_missing_or_damaged_discriminator(complaint: Complaint, clips: Path, tmp_path: Path) -> None:
    words = ("generator", "--data", clips, "--output", tmp_path / "o", "--preset", "lite96")
    assert "none.safetensors" in complaint(*words, "--discriminator", tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"half a file")
    assert "damaged" in complaint(*words, "--discriminator", tmp_path / "bad.safetensors")


def test_a_missing_vgg(complaint: Complaint, clips: Path, judge: Path, tmp_path: Path) -> None:
    assert "none.pth" in complaint(
        "generator", "--data", clips, "--output", tmp_path / "o", "--preset", "lite96", "--discriminator",
        judge, "--vgg", tmp_path / "none.pth",
    )  # fmt: skip


def test_pairs_alone_are_not_enough(complaint: Complaint, tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", "Ada", 2)
    sentence = complaint("generator", "--data", tmp_path / "data", "--output", tmp_path / "o")
    assert "--speech" in sentence


def test_a_damaged_clip(complaint: Complaint, tmp_path: Path) -> None:
    talking(tmp_path / "clips", 2, 8)
    (tmp_path / "clips" / "0001" / "speech.wav").unlink()
    sentence = complaint("sync", "--data", tmp_path / "clips", "--output", tmp_path / "o", "--steps", 1)
    assert "0001" in sentence
    (tmp_path / "clips" / "0001" / "clip.json").write_text("{}")
    assert "0001" in complaint("sync", "--data", tmp_path / "clips", "--output", tmp_path / "o")


@pytest.mark.parametrize("command", ["sync", "generator"])
def test_an_output_that_is_a_file(complaint: Complaint, clips: Path, tmp_path: Path, command: str) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    said = complaint(command, "--data", clips, "--output", taken, "--preset", "seed96")
    assert "is a file" in said
    assert taken.read_text() == "mine"


def test_an_unknown_suite(complaint: Complaint, clips: Path, tmp_path: Path) -> None:
    words = ("ablation", "--data", clips, "--held-out", clips, "--output", tmp_path / "o")
    sentence = complaint(*words, "--suite", "everything")
    assert "losses, curriculum" in sentence
    assert "none.safetensors" in complaint(*words, "--discriminator", tmp_path / "none.safetensors")


def test_a_damaged_picture(complaint: Complaint, tmp_path: Path) -> None:
    talking(tmp_path / "clips", 1, 5)
    (tmp_path / "clips" / "0000" / "000002.jpg").write_bytes(b"no picture")
    sentence = complaint(
        "sync", "--data", tmp_path / "clips", "--output", tmp_path / "o", "--steps", 1, "--batch", 2
    )
    assert "damaged" in sentence


@pytest.mark.parametrize(
    "words",
    [
        ("sync", "--batch", "1"),
        ("sync", "--steps", "-1"),
        ("generator", "--batch", "1"),
        ("generator", "--warm-up", "-5"),
        ("ablation", "--seeds", "0"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    command, option, value = words
    needed = ("--data", "x", "--output", "o", *(("--held-out", "x") if command == "ablation" else ()))
    assert call(monkeypatch, command, *needed, option, value) == 2
    assert option in capsys.readouterr().err


def test_sync_then_generator(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole path of a user: discriminator first, the generator by turns with it, both resumable."""
    assert os.environ.get("WORLD_SIZE") is None
    sync = ("sync", "--data", clips, "--output", tmp_path / "s", "--preset", "lite96")
    assert call(monkeypatch, *sync, "--steps", 1, "--batch", 2) == 0
    file = Path(capsys.readouterr().out.strip())
    assert file == tmp_path / "s" / train_sync.DISCRIMINATOR
    assert checkpoint.read_state(file)["preset"] == "lite96"
    generator = ("generator", "--data", clips, "--output", tmp_path / "g", "--preset", "lite96")
    shares = ("--sync", 0.2, "--discriminator", file, "--together-steps", 2, "--batch", 2, "--seed", 3)
    for _ in range(2):
        assert call(monkeypatch, *generator, *shares) == 0
        out = Path(capsys.readouterr().out.strip())
        assert out == tmp_path / "g" / train_together.CHECKPOINT
        assert checkpoint.read_state(out)["steps"] == 2
    assert (tmp_path / "g" / "board").is_dir()
    assert not list(tmp_path.rglob("*.part"))
