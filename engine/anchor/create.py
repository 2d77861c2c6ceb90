"""From footage of somebody to an avatar package: read once, checked, an idle loop chosen, written whole."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from engine.anchor.card import ANCHOR, IDLE, AvatarCard, Clip, ClipKind, Consent, read_card, write_card
from engine.anchor.checks import Finding, check, problems, usable
from engine.anchor.crop import LIPS
from engine.anchor.face_track import FaceTrack, follow_face
from engine.anchor.loops import MIN_FRAMES, IdleLoop, LoopChoice, at_rest, find_loop
from engine.anchor.package import check_name
from engine.anchor.prepare import film_clip, loop_cut
from engine.anchor.resting import Lenders, RestedMouth, find_lenders
from engine.anchor.survey import Flags, Survey, Tell, survey
from engine.anchor.trackers import open_tracker
from engine.anchor.walk import Loop
from engine.errors import AvatarError, FootageError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, read_sheet
from engine.speech.audio import FRAME_RATE

MAX_BYTES = 600_000_000
"""What the decoded pictures of one clip may take in memory: 7.7 s at 1920x1080, 17 s at 1280x720."""

MatteChoice = Literal["auto", "none"] | Path


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made: an avatar `name` in the folder of avatars `output`, from `video`.

    `mouth` is the folder of a trained mouth; below `output` it is referred to, from elsewhere it is copied.
    `title` by language; `loop` which way the idle loop may go round; `matte` for a clear background: made where
    it can be made well, none, or a grey video of the same length.
    """

    video: Path
    name: str
    output: Path
    mouth: Path
    consent: Consent
    title: dict[str, str] = field(default_factory=dict)
    licence: str = "all rights reserved"
    credits: str = ""
    loop: LoopChoice = "auto"
    matte: MatteChoice = "auto"
    tracker: str = "mediapipe"


@dataclass(frozen=True, slots=True)
class Created:
    """A new avatar in `folder`. `findings` is advice for better footage; `loop_s` from and to which second of
    it the idle loop was taken, `idle` how it was chosen.
    """

    folder: Path
    findings: tuple[Finding, ...]
    loop_s: tuple[float, float]
    loop: Loop
    matte: bool
    idle: IdleLoop


def create(order: Order, tell: Tell | None = None) -> Created:
    """Make the package that is ordered; `tell` hears the steps "look", "loop", "rest", "film", "write".

    Raises FootageError with all findings when the footage is unfit, BadMediaError when there is none,
    AvatarError for a bad or taken name or an unusable mouth; then nothing is left behind.
    """
    say = tell or _silent
    check_name(order.name)
    target = order.output / order.name
    if target.exists():
        raise AvatarError(f"{target} exists already; choose another name or remove it first.")
    crop_size = read_sheet(order.mouth).size
    surveyed, findings = _look(order.video, order.tracker, say)
    say("loop", 0, 1)
    longest = MAX_BYTES * 2 // (3 * surveyed.size[0] * surveyed.size[1])
    fit = usable(surveyed)
    idle, lenders = _choose(surveyed, fit, order.loop, longest)
    if idle is None:
        raise FootageError([_no_loop(), *findings])
    say("loop", 1, 1)
    with _whole(target) as package:
        template = Clip(IDLE, "idle", ANCHOR, idle.loop, (), (), ())
        cut = loop_cut(idle)
        track = follow_face(surveyed, fit, cut.start, idle.last)
        retouch = RestedMouth(order.video, surveyed, lenders, track, cut.start, say) if lenders else None
        clip = film_clip(package, template, order.video, surveyed.size, cut, track, retouch=retouch, tell=say)
        say("write", 0, 1)
        card = AvatarCard(
            name=order.name,
            title=order.title or {"en": order.name, "zh": order.name},
            size=surveyed.size,
            clips=(clip,),
            crop_size=crop_size,
            mouth_box=_mouth_box(track),
            mouth=_place_mouth(order.mouth, package),
            model=order.mouth.resolve().name,
            licence=order.licence,
            consent=order.consent,
            credits=order.credits,
        )
        write_card(package, card)
    say("write", 1, 1)
    loop_s = (idle.first / FRAME_RATE, idle.last / FRAME_RATE)
    return Created(target, tuple(findings), loop_s, idle.loop, False, idle)


def _look(video: Path, tracker: str, tell: Tell) -> tuple[Survey, list[Finding]]:
    """One reading of the footage and what is to be said about it. Raises FootageError for problems."""
    with closing(open_tracker(tracker)) as faces:
        surveyed = survey(video, faces, tell)
    findings = check(surveyed)
    if problems(findings):
        raise FootageError(findings)
    return surveyed, findings


def _choose(
    surveyed: Survey, fit: Flags, choice: LoopChoice, longest: int
) -> tuple[IdleLoop | None, Lenders | None]:
    """The idle loop, and who lends a closed mouth to it where somebody speaks.

    Four seconds at rest are best, then four seconds of speaking whose mouth can be closed; then two of either.
    """
    resting = fit & at_rest(surveyed)
    lenders: Lenders | None = None
    for shortest in (MIN_FRAMES, MIN_FRAMES // 2):
        idle = find_loop(surveyed, resting, choice, shortest=shortest, longest=longest)
        if idle is not None:
            return idle, None
        lenders = lenders or find_lenders(surveyed, fit)
        reached = fit & lenders.reach
        idle = find_loop(surveyed, reached, choice, shortest=shortest, longest=longest, effort=lenders.effort)
        if idle is not None:
            return idle, lenders
    return None, None


def _no_loop() -> Finding:
    return Finding(
        "no-loop",
        "problem",
        "There are no two seconds in one piece in which the face looks at the camera with the mouth at rest, and "
        "no picture with closed lips to borrow from; sit still and silent for ten seconds at the beginning.",
    )


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when the block ends well, and vanishes otherwise."""
    created = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            package = Path(folder) / target.name
            package.mkdir()
            yield package
            package.rename(target)
    finally:
        if created and not any(target.parent.iterdir()):
            target.parent.rmdir()


def _mouth_box(track: FaceTrack) -> tuple[float, float, float, float]:
    boxes = zip(track.landmarks, track.crops, strict=True)
    lips = np.stack([crop.to_crop(points[list(LIPS)], 1) for points, crop in boxes])
    (left, top), (right, bottom) = lips.min(axis=1).mean(axis=0), lips.max(axis=1).mean(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _place_mouth(mouth: Path, package: Path) -> str:
    """The mouth's folder relative to the package; copied into it unless it lies beside it."""
    root = package.resolve().parents[1]  # the package is still inside its temporary folder
    if root in mouth.resolve().parents:
        return str(Path("..") / mouth.resolve().relative_to(root))
    (package / "mouth").mkdir()
    for name in (FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET):
        if not (mouth / name).is_file():
            raise AvatarError(f"The mouth in {mouth} lacks {name}; export it again.")
        shutil.copyfile(mouth / name, package / "mouth" / name)
    return "mouth"


def _silent(step: str, done: int, total: int) -> None:
    pass
