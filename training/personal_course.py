"""All that `koubo avatar train` does: footage to clips, training, judging on what was kept, then the swap.

Everything but the swapped-in mouth stays in a work folder, from which an interrupted course goes on.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.anchor.card import ANCHOR
from engine.anchor.mouth_swap import mend, swap_mouth
from engine.anchor.package import Avatar
from engine.errors import BadMediaError, KouboError
from engine.evaluate.track import NewTracker
from engine.mouth.runtime import MouthRuntime
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, file_hash
from engine.paths import cache_folder
from engine.speech.audio import FRAME_RATE
from training import personal_data as data
from training.clip_data import read_clips
from training.personal import PersonalRun, train_personal
from training.personal_filmed import Filmed, read_filmed, write_filmed
from training.personal_report import write_report
from training.personal_score import Decision, PersonalScore, decide, score
from training.preprocess.embedder import FaceEmbedder
from training.sync_score import SyncJudge

_VERSION = 3
"""Of the way clips are made: another one makes them anew."""

_STATE = "course.json"
_LEARN, _JUDGE, _FILMED = "clips", "held-out", "filmed"
_RUN, _BEFORE, _CANDIDATE = "training", "before", "candidate"

Tell = Callable[[str, float, dict[str, float]], None]
"""Is told (step, share done, figures)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to train: the avatar's folder, videos of its person, minutes (or steps) of computing; `work` keeps
    checkpoints and the report; `force`: the footage is of this person whatever the face says.
    """

    avatar: Path
    footage: Sequence[Path]
    work: Path
    minutes: float
    steps: int = 0
    seed: int = 0
    force: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """What a course works with; `open_mouth` opens the mouth in a folder, `export` writes a checkpoint's."""

    tracker: NewTracker
    judge: SyncJudge | None
    embedder: FaceEmbedder
    open_mouth: Callable[[Path], MouthRuntime]
    export: Callable[[Path, Path, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it; `report` is its folder."""

    before: PersonalScore
    after: PersonalScore
    decision: Decision
    report: Path


def work_folder(avatar: Path) -> Path:
    """Where the course of an avatar keeps itself unless told otherwise."""
    where = hashlib.sha256(str(avatar.resolve()).encode()).hexdigest()[:8]
    return cache_folder() / "personal" / f"{avatar.resolve().name}-{where}"


def run_course(order: Order, tools: Tools, tell: Tell, warn: Callable[[str], None]) -> Outcome:
    """Trains, judges, and swaps the mouth where the new one is better; resumes `order.work`.

    Raises KouboError (BadMediaError, NoFaceError, AvatarError) for footage or an avatar that cannot be used,
    or a full disk; the avatar is then as it was.
    """
    mend(order.avatar)
    avatar = Avatar.load(order.avatar)
    try:
        order.work.mkdir(parents=True, exist_ok=True)
        filmed = _prepare(order, avatar, tools, tell, warn)
    except OSError as error:
        raise KouboError(
            f"{order.work} cannot be written ({error.strerror}); make room, or give another --output."
        ) from error
    state = _state(order.work)
    run = PersonalRun(
        order.work / _RUN, order.minutes, lambda share, figures: tell("training", share, figures),
        lambda done, total: tell("reading the lips", done / total, {}), order.steps, order.seed,
    )  # fmt: skip
    checkpoint = train_personal(order.work / _BEFORE, order.work / _LEARN, run)
    tell("exporting", 0.0, {})
    candidate = order.work / _CANDIDATE
    seconds = sum(len(one.faces.faces) for one in filmed) / FRAME_RATE
    trained = {"from": state["mouth"], "speech_s": state["speech_s"], "footage": len(order.footage)}
    tools.export(checkpoint, candidate, trained)
    tell("judging", 0.0, {})
    clips = read_clips([order.work / _JUDGE])
    old, new = (tools.open_mouth(folder) for folder in (order.work / _BEFORE, candidate))
    before = score(avatar, old, clips, filmed, tools.tracker)
    tell("judging", 0.5, {})
    after = score(avatar, new, clips, filmed, tools.tracker)
    decision = decide(before, after, seconds)
    write_report(order.work, clips, (old, new), (before, after), decision, seconds)
    if decision.better:
        swap_mouth(order.avatar, candidate)
    return Outcome(before, after, decision, order.work)


def _prepare(
    order: Order, avatar: Avatar, tools: Tools, tell: Tell, warn: Callable[[str], None]
) -> list[Filmed]:
    """Clips to learn from and to judge by, made anew only when footage, anchor or mouth are other ones."""

    def told(step: str, done: int, total: int) -> None:
        tell(step, done / total if total else 0.0, {})

    key = _fingerprint(order, avatar)
    state = _state(order.work)
    if state.get("key") == key:
        if state["speech_s"] < data.ENOUGH_SPEECH_S:
            warn(_scarce(state["speech_s"]))
        return [read_filmed(path) for path in sorted((order.work / _FILMED).iterdir())]
    for old in (_STATE, _LEARN, _JUDGE, _FILMED, _RUN, _BEFORE, _CANDIDATE):
        path = order.work / old
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    footage = [data.read_footage(video, tools.tracker, tools.judge, told) for video in order.footage]
    speech_s = sum(one.speech_s for one in footage)
    if speech_s < data.LEAST_SPEECH_S:
        raise BadMediaError(
            f"There are only {speech_s:.1f} s of speech with the face in view; film a minute of talking."
        )
    if speech_s < data.ENOUGH_SPEECH_S:
        warn(_scarce(speech_s))
    rest = data.resting_faces(avatar, tools.tracker)
    if not order.force:
        for one in footage:
            data.check_person(one, rest, tools.embedder)
    learn, judge = data.split(footage)
    data.write_clips(learn, rest, order.work / _LEARN, seed=order.seed, tell=told)
    data.write_clips(judge, rest, order.work / _JUDGE, seed=order.seed, tell=told)
    filmed = [Filmed(*data.truth_of(part), data.filmed_mouths(part, avatar.crop_size)) for part in judge]
    shutil.copytree(avatar.mouth, order.work / _BEFORE)
    for number, stretch in enumerate(filmed):
        write_filmed(order.work / _FILMED / f"{number:03d}.npz", stretch)
    content = {"key": key, "speech_s": round(speech_s, 2), "mouth": _mouth_hash(avatar.mouth)[:16]}
    part = order.work / f"{_STATE}.part"
    part.write_text(json.dumps(content) + "\n", encoding="utf-8")
    part.replace(order.work / _STATE)
    return filmed


def _scarce(seconds: float) -> str:
    return (
        f"There are only {seconds:.0f} s of speech: this mouth will be better, but a minute or two make it "
        "much better."
    )


def _fingerprint(order: Order, avatar: Avatar) -> str:
    """Changes when clips must be made anew: footage, anchor, mouth or the way they are made."""
    digest = hashlib.sha256(f"{_VERSION} {order.seed} {_mouth_hash(avatar.mouth)}".encode())
    digest.update(file_hash(avatar.folder / ANCHOR).encode())
    digest.update(repr(avatar.card.idle).encode())
    for video in order.footage:
        if not video.is_file():
            raise BadMediaError(f"There is no video file at {video}; check the path.")
        digest.update(file_hash(video).encode())
    return digest.hexdigest()


def _mouth_hash(mouth: Path) -> str:
    return file_hash(mouth / FACE_ENCODER) + file_hash(mouth / MOUTH_DECODER)


def _state(work: Path) -> dict[str, Any]:
    try:
        content = json.loads((work / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not begun, or cut off before it was
        return {}
    return content if isinstance(content, dict) else {}
