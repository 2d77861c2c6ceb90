from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import BadMediaError, KouboError
from engine.speech import espeak
from tests.fakes import write_sound
from tests.training.footage import talking
from tests.training.pairs import write_pairs
from training import checkpoint, curriculum, train_ear, train_generator
from training.curriculum import Minutes, Plan, plot_curves, train
from training.losses import Weights
from training.models.discriminator import Discriminator
from training.models.generator import Parts
from training.models.presets import preset
from training.speech_data import Recording
from training.studio.phones import Phone
from training.studio.visemes import viseme_curves
from training.train_together import Recipe

STEPS = Minutes(ear=0.02, picture=0.03, joint=0.02)


def plan_of(root: Path, **changes: Any) -> Plan:
    """A plan for the small preset with everything below `root`."""
    plan = Plan("lite96", [root / "data"], [], root / "run", Minutes(0, 0, 0), recipe=RECIPE)
    return replace(plan, **changes)


RECIPE = Recipe(Weights(0.1, 0.1, 0.1, 0.1, warm_up=0), batch=2)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained discriminator."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("judge") / "sync.safetensors"
    checkpoint.save(path, {"discriminator": Discriminator(preset("seed96"))}, {"preset": "seed96"})
    return path


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


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # shapes that so short a speech lacks
def test_three_steps_make_a_checkpoint_and_resume(
    tmp_path: Path, speech: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curriculum, "read_recordings", recordings)
    monkeypatch.setattr(curriculum, "is_held_out_speaker", lambda file: file == speech[1])
    monkeypatch.setattr(train_generator, "BATCH", 4)
    monkeypatch.setattr(train_ear, "BATCH", 16)
    write_pairs(tmp_path / "data", "Ada", 20, speech[0].name)
    told: list[str] = []
    plan = plan_of(tmp_path, speech=speech, minutes=STEPS)

    def go() -> Path:
        return train(plan, lambda step, *_: told.append(step), print)

    final = go()
    assert final == tmp_path / "run" / "joint.safetensors"
    state = checkpoint.read_state(final)
    assert state["preset"] == "lite96"
    assert state["steps"] >= 1
    assert "ear" in told
    assert (tmp_path / "run" / "curves.png").is_file()
    first = checkpoint.read_state(tmp_path / "run" / "picture.safetensors")["steps"]
    go()
    assert checkpoint.read_state(tmp_path / "run" / "picture.safetensors")["steps"] == first


def test_clips_are_trained_by_turns(tmp_path: Path, judge: Path) -> None:
    talking(tmp_path / "data", 1, 12, idle=True, coded=True)
    plan = plan_of(tmp_path, minutes=Minutes(0, 0, 0, together_steps=2), discriminator=judge)
    before = judge.read_bytes()
    final = train(plan, lambda *_: None, print)
    assert final == tmp_path / "run" / "together.safetensors"
    assert checkpoint.read_state(final)["steps"] == 2
    assert checkpoint.holds(final, "discriminator")
    assert judge.read_bytes() == before


def test_filmed_clips_train_the_seed_s_own_shape(tmp_path: Path, judge: Path) -> None:
    talking(tmp_path / "data", 1, 26)
    plan = plan_of(tmp_path, preset="seed96", minutes=Minutes(0, 0, 0, together_steps=1), discriminator=judge)
    warned: list[str] = []
    state = checkpoint.read_state(train(plan, lambda *_: None, warned.append))
    assert (state["preset"], state["filmed"]) == ("seed96", True)
    assert not warned


def test_a_preset_that_starts_from_idle_pictures_is_warned_of_filmed_clips(
    tmp_path: Path, judge: Path
) -> None:
    talking(tmp_path / "data", 1, 26)
    plan = plan_of(tmp_path, preset="lite96", minutes=Minutes(0, 0, 0, together_steps=1), discriminator=judge)
    warned: list[str] = []
    train(plan, lambda *_: None, warned.append)
    assert len(warned) == 1
    assert "seed192" in warned[0]


def test_a_run_may_start_from_another_s_parts(tmp_path: Path, judge: Path) -> None:
    """What a checkpoint holds is taken, the rest stays fresh; an empty training gives it back."""
    talking(tmp_path / "data", 1, 12, idle=True, coded=True)
    torch.manual_seed(5)
    parts = Parts.create(preset("lite96"))
    checkpoint.save(tmp_path / "ear.safetensors", {"ear": parts.ear}, {"preset": "lite96"})
    plan = plan_of(
        tmp_path, minutes=Minutes(0, 0, 0, together_steps=1), discriminator=judge,
        start=[tmp_path / "ear.safetensors"], recipe=replace(RECIPE, rate=0.0),
    )  # fmt: skip
    final = train(plan, lambda *_: None, print)
    other = Parts.create(preset("lite96"))
    checkpoint.load_trained(final, {"ear": other.ear})
    for mine, theirs in zip(parts.ear.parameters(), other.ear.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["nothing", "pairs without speech", "pairs for a preset without a code"])
def test_nothing_to_train_from_is_told(tmp_path: Path, kind: str) -> None:
    (tmp_path / "data").mkdir()
    if kind != "nothing":
        write_pairs(tmp_path / "data", "Ada", 2)
    plan = plan_of(tmp_path)
    if kind == "pairs for a preset without a code":
        plan = plan_of(tmp_path, preset="seed96", speech=[tmp_path / "a.wav"])
    with pytest.raises(BadMediaError, match="Nothing to train"):
        train(plan, lambda *_: None, print)
    assert not (tmp_path / "run").exists()


def test_a_missing_discriminator_is_named(tmp_path: Path) -> None:
    talking(tmp_path / "data", 1, 12, idle=True, coded=True)
    plan = plan_of(
        tmp_path, minutes=Minutes(0, 0, 0, together_steps=1), discriminator=tmp_path / "none.safetensors"
    )
    with pytest.raises(KouboError, match=r"no checkpoint at .*none\.safetensors"):
        train(plan, lambda *_: None, print)


def test_curves_are_drawn(tmp_path: Path) -> None:
    import cv2

    network = {"net": torch.nn.Linear(2, 2)}
    curve = [[100 * i, 1 / i] for i in range(1, 20)]
    checkpoint.save(tmp_path / "picture.safetensors", network, {"curve": curve})
    plot_curves(tmp_path)
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None
    assert (picture < 250).any()


def test_an_unknown_preset_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="lite192"):
        train(plan_of(tmp_path, preset="giant"), lambda *_: None, print)
