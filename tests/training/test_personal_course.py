"""The whole course: footage in, a better mouth or the old one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.anchor.mouth_swap import BEFORE
from engine.anchor.package import Avatar
from engine.errors import BadMediaError, KouboError, NoFaceError
from engine.mouth.sheet import file_hash
from engine.speech.audio import SAMPLES_PER_TICK
from tests import films
from tests.fakes import FakeMouth, FakeTracker, speech_like
from tests.tiny_mouth import write_tiny_mouth
from tests.training.personal import SMALL, film_person, make_person
from tests.training.test_personal_data import Complexion
from tests.training.test_personal_score import RestlessMouth
from training import personal_course
from training.personal_course import Order, Outcome, Tools, run_course, work_folder
from training.personal_report import REPORT, SHEET

pytestmark = pytest.mark.usefixtures("presets_known")

Export = Callable[[Path, Path, dict[str, Any]], None]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_person(tmp_path_factory.mktemp("film") / "me.mp4", 8.0)


@pytest.fixture
def avatar(small_mouths: Path, tmp_path: Path) -> Path:
    """An avatar with an untrained mouth of SMALL."""
    return make_person(tmp_path / "avatars", small_mouths / SMALL.name)


def tiny(checkpoint: Path, target: Path, trained: dict[str, Any]) -> None:
    """An export of another mouth than the avatar has, whatever was trained."""
    assert checkpoint.is_file()
    assert trained["speech_s"] > 5
    write_tiny_mouth(target, SMALL.size)


def course(
    avatar: Path, film: Path, work: Path, export: Export = tiny, *, better: bool = True, **more: Any
) -> tuple[Outcome, list[str], list[str]]:
    """Outcome, steps told, warnings; one of the two mouths listens, the other one moves by chance."""
    steps: list[str] = []
    warnings: list[str] = []

    def open_mouth(folder: Path) -> FakeMouth:
        return (FakeMouth if (folder.name == "candidate") == better else RestlessMouth)(SMALL.size)

    order = Order(avatar, [film], work, 0.0, steps=2, **more)
    tools = Tools(FakeTracker, None, Complexion(), open_mouth, export)
    outcome = run_course(order, tools, lambda step, *_: steps.append(step), warnings.append)
    return outcome, steps, warnings


def mouth_of(avatar: Path) -> str:
    return file_hash(Avatar.load(avatar).mouth / "mouth_decoder.onnx")


def test_a_better_mouth_replaces_the_old_one(avatar: Path, film: Path, tmp_path: Path) -> None:
    old = mouth_of(avatar)
    outcome, steps, warnings = course(avatar, film, tmp_path / "work")
    assert outcome.decision.better
    assert mouth_of(avatar) != old
    assert outcome.after.jaw_r > outcome.before.jaw_r
    assert not (avatar / BEFORE).exists()
    assert {"clips", "reading the lips", "exporting", "judging"} <= set(steps)
    assert any("only" in warning for warning in warnings)  # eight seconds of speech are few
    for name in (SHEET, REPORT):
        assert (tmp_path / "work" / name).is_file()
    assert file_hash(tmp_path / "work" / "before" / "mouth_decoder.onnx") == old


def test_a_worse_mouth_does_not(avatar: Path, film: Path, tmp_path: Path) -> None:
    old = mouth_of(avatar)
    outcome, _, _ = course(avatar, film, tmp_path / "work", better=False)
    assert not outcome.decision.better
    assert outcome.decision.worse
    assert mouth_of(avatar) == old
    assert not (avatar / BEFORE).exists()
    report = json.loads((tmp_path / "work" / REPORT).read_text())
    assert report["accepted"] is False
    assert report["why"] == outcome.decision.why
    assert report["before"]["jaw_r"] == pytest.approx(outcome.before.jaw_r, abs=1e-3)


def test_the_same_command_goes_on(avatar: Path, film: Path, tmp_path: Path) -> None:
    """Killed while it exports; the second run makes no clips and trains no further."""

    def killed(checkpoint: Path, target: Path, trained: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    old = mouth_of(avatar)
    with pytest.raises(KeyboardInterrupt):
        course(avatar, film, tmp_path / "work", killed)
    assert mouth_of(avatar) == old
    trained = file_hash(tmp_path / "work" / "training" / "together.safetensors")
    stamp = (tmp_path / "work" / "course.json").stat().st_mtime_ns
    outcome, steps, warnings = course(avatar, film, tmp_path / "work")
    assert outcome.decision.better
    assert "clips" not in steps
    assert warnings
    assert (tmp_path / "work" / "course.json").stat().st_mtime_ns == stamp
    assert trained


@pytest.mark.slow
def test_other_footage_begins_anew(avatar: Path, film: Path, tmp_path: Path) -> None:
    def same(checkpoint: Path, target: Path, trained: dict[str, Any]) -> None:
        shutil.copytree(Avatar.load(avatar).mouth, target, dirs_exist_ok=True)

    course(avatar, film, tmp_path / "work", same)
    other = film_person(tmp_path / "other.mp4", 8.0, seed=5)
    _, steps, _ = course(avatar, other, tmp_path / "work", same)
    assert "clips" in steps


def test_too_little_speech_is_refused(avatar: Path, tmp_path: Path) -> None:
    short = film_person(tmp_path / "short.mp4", 2.0)
    with pytest.raises(BadMediaError, match="film a minute"):
        course(avatar, short, tmp_path / "work")


@pytest.mark.parametrize("kind", ["missing", "text", "wall", "mute"])
def test_footage_that_is_none(avatar: Path, tmp_path: Path, kind: str) -> None:
    video = tmp_path / f"{kind}.mp4"
    if kind == "text":
        video.write_text("no video")
    elif kind == "wall":
        films.write(video, [films.faces([0.0])[0] * 0] * 200, speech_like(8.0))
    elif kind == "mute":
        films.film(video, [0.05] * 50)
    old = mouth_of(avatar)
    with pytest.raises((BadMediaError, NoFaceError)):
        course(avatar, video, tmp_path / "work")
    assert mouth_of(avatar) == old


@pytest.mark.slow
def test_somebody_elses_footage_is_refused_unless_told(avatar: Path, tmp_path: Path) -> None:
    samples = speech_like(8.0)[: 200 * SAMPLES_PER_TICK]
    darker = [(picture * 0.85).astype("uint8") for picture in films.faces([0.05, 0.0] * 100)]
    video = films.write(tmp_path / "stranger.mp4", darker, samples)
    with pytest.raises(BadMediaError, match="same-person"):
        course(avatar, video, tmp_path / "work")
    outcome, _, _ = course(avatar, video, tmp_path / "work", force=True)
    assert outcome.report == tmp_path / "work"


def test_a_full_disk_leaves_the_avatar_as_it_was(
    avatar: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    old = mouth_of(avatar)
    monkeypatch.setattr(personal_course, "write_filmed", full)
    with pytest.raises(KouboError, match="No space left"):
        course(avatar, film, tmp_path / "work")
    assert mouth_of(avatar) == old
    monkeypatch.undo()


@pytest.mark.slow
def test_a_course_that_was_cut_off_in_its_preparation_begins_anew(
    avatar: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(personal_course, "write_filmed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            course(avatar, film, tmp_path / "work")
    _, steps, _ = course(avatar, film, tmp_path / "work")
    assert "clips" in steps


def test_the_work_folder_is_the_avatars_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path))
    first, second = (work_folder(tmp_path / root / "me") for root in ("a", "b"))
    assert first != second
    assert first.name.startswith("me-")
    assert tmp_path in first.parents
