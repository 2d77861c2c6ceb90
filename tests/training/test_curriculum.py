from pathlib import Path

import pytest

from engine.errors import KouboError
from engine.speech import espeak
from tests.fakes import write_sound
from tests.training.pairs import write_pairs
from training import checkpoint, curriculum
from training.curriculum import Minutes, plot_curves, train
from training.speech_data import Recording
from training.studio.phones import Phone
from training.studio.visemes import viseme_curves

STEPS = Minutes(ear=0.02, picture=0.05, joint=0.03)


def recordings(files: list[Path]) -> list[Recording]:
    """Stands in for alignment: the bundled voice knows its phones."""
    spoken = espeak.speak("Papa may go home.", "en-us")
    phones = [Phone(p.label, p.start, p.end) for p in spoken.phonemes]
    return [Recording(file.name, spoken.samples, viseme_curves(phones, spoken.samples)) for file in files]


@pytest.fixture
def speech(tmp_path: Path) -> list[Path]:
    spoken = espeak.speak("Papa may go home.", "en-us").samples
    names = ("corpus-1-1-0000.wav", "corpus-5-1-0000.wav")
    return [write_sound(tmp_path / name, spoken, 16_000) for name in names]


@pytest.mark.filterwarnings("ignore:.*")
def test_three_steps_make_a_checkpoint_and_resume(
    tmp_path: Path, speech: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curriculum, "read_recordings", recordings)
    monkeypatch.setattr(curriculum, "is_held_out_speaker", lambda file: file == speech[1])
    write_pairs(tmp_path / "pairs", "Ada", 20, speech[0].name)
    told: list[str] = []
    output = tmp_path / "run"

    def go() -> Path:
        return train(
            "lite192", tmp_path / "pairs", speech, output, STEPS,
            seed=0, tell=lambda step, *_: told.append(step),
        )  # fmt: skip

    final = go()
    state = checkpoint.read_state(final)
    assert state["preset"] == "lite192"
    assert state["steps"] >= 1
    assert "ear" in told
    first = checkpoint.read_state(output / "picture.safetensors")["steps"]
    go()
    assert checkpoint.read_state(output / "picture.safetensors")["steps"] == first


def test_curves_are_drawn(tmp_path: Path) -> None:
    import cv2
    import torch

    network = {"net": torch.nn.Linear(2, 2)}
    curve = [[100 * i, 1 / i] for i in range(1, 20)]
    checkpoint.save(tmp_path / "picture.safetensors", network, {"curve": curve})
    plot_curves(tmp_path)
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None
    assert (picture < 250).any()


def test_an_unknown_preset_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="lite192"):
        train("giant", tmp_path, [], tmp_path, STEPS, seed=0, tell=lambda *_: None)
