"""From footage of somebody to an avatar package: read once, checked, an idle loop chosen, written whole."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engine.anchor.card import ANCHOR, IDLE, AvatarCard, Clip, Consent, write_card
from engine.anchor.checks import check, problems, usable
from engine.anchor.choose_matte import MatteChoice, matte_maker
from engine.anchor.crop import LIPS, Picture
from engine.anchor.face_track import FaceTrack, follow_face
from engine.anchor.finding import Finding
from engine.anchor.footage import remember_footage
from engine.anchor.loops import GOOD_FRAMES, MAX_FRAMES, IdleLoop, LoopChoice, at_rest, find_loop
from engine.anchor.package import MOUTH, MOUTH_FILES, check_name
from engine.anchor.prepare import Cut, Retouch, film_clip, loop_cut
from engine.anchor.resting import Lenders, RestedMouth, find_lenders
from engine.anchor.shares import mouth_shares
from engine.anchor.survey import Survey, Tell, source_of, survey
from engine.anchor.trackers import open_tracker
from engine.anchor.walk import Loop
from engine.errors import AvatarError, FootageError
from engine.evaluate.jitter import Jitter, crop_jitter
from engine.mouth.sheet import read_sheet
from engine.picture.fit import Size
from engine.speech.audio import FRAME_RATE

MAX_BYTES = 600_000_000
"""What the decoded pictures of one clip may take in memory: 7.7 s at 1920x1080, 17 s at 1280x720."""

_SPEAKS = 0.35  # share of a drawn mouth that every picture of a loop shows at least


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made: an avatar `name` in the folder of avatars `output`, from `video`.

    `mouth` is the folder of a trained mouth; below `output` it is referred to, from elsewhere it is copied.
    `title` by language; `loop` which way the idle loop may go round; `matte` for a clear background: made
    where it can be made well, none, or a grey video of the same length.
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
    it the idle loop was taken, `idle` how it was chosen, `jitter` how calm the mouth's square is in it.
    """

    folder: Path
    findings: tuple[Finding, ...]
    loop_s: tuple[float, float]
    loop: Loop
    matte: bool
    idle: IdleLoop
    jitter: Jitter


@dataclass(frozen=True, slots=True)
class Filmed:
    """A clip that was written, how its face moves, and what is to be said about it."""

    clip: Clip
    track: FaceTrack
    jitter: Jitter
    matte: bool
    findings: tuple[Finding, ...]


def create(order: Order, tell: Tell | None = None) -> Created:
    """Make the package that is ordered; `tell` hears the steps "look", "loop", "rest", "film", "write".

    Raises FootageError with all findings when the footage is unfit, BadMediaError when there is none,
    AvatarError for a bad or taken name or an unusable mouth; then nothing is left behind.
    """
    say = tell or silent
    check_name(order.name)
    target = order.output / order.name
    if target.exists():
        raise AvatarError(f"{target} exists already; choose another name or remove it first.")
    crop_size = read_sheet(order.mouth).size
    surveyed, findings = look(order.video, order.tracker, say)
    say("loop", 0, 1)
    idle, lenders = choose_loop(surveyed, order.loop)
    if idle is None:
        raise FootageError([no_loop(), *findings])
    say("loop", 1, 1)
    with whole(target) as package:
        template = Clip(IDLE, "idle", ANCHOR, idle.loop, (), (), ())
        filmed = film(package, template, order.video, surveyed, loop_cut(idle), lenders, order.matte, say)
        say("write", 0, 1)
        card = AvatarCard(
            name=order.name,
            title=order.title or {"en": order.name, "zh": order.name},
            size=surveyed.size,
            clips=(filmed.clip,),
            crop_size=crop_size,
            mouth_box=_mouth_box(filmed.track),
            mouth=_place_mouth(order.mouth, package),
            model=order.mouth.resolve().name,
            licence=order.licence,
            consent=order.consent,
            credits=order.credits,
        )
        write_card(package, card)
    remember_footage(target, order.video)
    say("write", 1, 1)
    loop_s = (idle.first / FRAME_RATE, idle.last / FRAME_RATE)
    advice = (*findings, *filmed.findings)
    return Created(target, advice, loop_s, idle.loop, filmed.matte, idle, filmed.jitter)


def look(
    video: Path, tracker: str, tell: Tell, *, forgive: Sequence[str] = ()
) -> tuple[Survey, list[Finding]]:
    """One reading of the footage and the advice on it, but for the codes in `forgive`. Raises FootageError
    when there is a problem.
    """
    source_of(video)  # what is no video is told before a tracker is missed
    with closing(open_tracker(tracker)) as faces:
        surveyed = survey(video, faces, tell)
    findings = [finding for finding in check(surveyed) if finding.code not in forgive]
    if problems(findings):
        raise FootageError(findings)
    return surveyed, findings


def choose_loop(surveyed: Survey, choice: LoopChoice = "auto") -> tuple[IdleLoop | None, Lenders | None]:
    """The idle loop, and who lends a closed mouth to it where somebody speaks.

    Four seconds at rest are best; then speaking whose mouth can be closed; then whatever rest there is.
    """
    fit = usable(surveyed) & (mouth_shares(surveyed.yaw, surveyed.pitch) > _SPEAKS)
    longest = longest_clip(surveyed.size)
    resting = fit & at_rest(surveyed)
    idle = find_loop(surveyed, resting, choice, shortest=GOOD_FRAMES, longest=longest)
    if idle is not None:
        return idle, None
    lenders = find_lenders(surveyed, fit)
    idle = find_loop(surveyed, fit & lenders.reach, choice, longest=longest, effort=lenders.effort)
    if idle is not None:
        return idle, lenders
    return find_loop(surveyed, resting, choice, longest=longest), None


def longest_clip(size: Size) -> int:
    """How many pictures of `size` (width, height) a clip may have."""
    return MAX_BYTES * 2 // (3 * size[0] * size[1])


def film(
    package: Path,
    template: Clip,
    video: Path,
    surveyed: Survey,
    cut: Cut,
    lenders: Lenders | None,
    matte: MatteChoice,
    tell: Tell,
    *,
    canvas: Size | None = None,
) -> Filmed:
    """Write one clip into `package`, scaled into `canvas` where it is given: its mouth at rest where there
    are `lenders`, its mattes where they are wanted and can be made.

    Raises NoFaceError, BadMediaError, MissingToolError, AvatarError.
    """
    track = follow_face(surveyed, usable(surveyed), cut.start, max(cut.pictures) + 1)
    rested = RestedMouth(video, surveyed, lenders, track, cut.start, tell) if lenders else None
    max_side = max(surveyed.size)
    with matte_maker(matte, video, max_side, min(cut.pictures), max(cut.pictures) + 1) as maker:
        clip = film_clip(
            package, template, video, surveyed.size, cut, track,
            canvas=canvas, matter=maker.matter, retouch=_both(rested, maker.clean), tell=tell,
        )  # fmt: skip
    found = [maker.finding, _mouth_rested() if rested else None, _cut_short(len(clip.crops), surveyed.size)]
    jitter = crop_jitter(track.crops, track.raw)
    return Filmed(clip, track, jitter, maker.matter is not None, tuple(f for f in found if f is not None))


def _both(rested: Retouch | None, clean: Callable[[Picture], Picture] | None) -> Retouch | None:
    """Both changes to a picture, one after the other."""
    if clean is None:
        return rested
    if rested is None:
        return lambda _, picture: clean(picture)
    return lambda number, picture: clean(rested(number, picture))


def no_loop() -> Finding:
    """What is said of footage in which no idle loop can be found."""
    return Finding(
        "no-loop",
        "problem",
        "There are no two seconds in one piece in which the face looks at the camera with the mouth at rest, "
        "and no picture with closed lips to borrow from; sit still and silent for ten seconds first.",
    )


def _mouth_rested() -> Finding:
    return Finding(
        "mouth-rested",
        "advice",
        "The idle loop was made of pictures in which you speak, with the mouth closed afterwards; ten silent "
        "seconds in the video would look more alive.",
    )


def _cut_short(frames: int, size: Size) -> Finding | None:
    longest = longest_clip(size)
    if frames < min(longest, MAX_FRAMES) or longest >= MAX_FRAMES:
        return None
    seconds = round(frames / FRAME_RATE, 1)
    return Finding(
        "loop-cut",
        "advice",
        f"The loop is {seconds:.1f} s long, as much as fits into {MAX_BYTES // 10**6} MB of memory at "
        f"{size[0]}x{size[1]}; 1280x720 allows {longest_clip((1280, 720)) / FRAME_RATE:.0f} s.",
        {"seconds": seconds},
    )


@contextmanager
def whole(target: Path) -> Iterator[Path]:
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
    (package / MOUTH).mkdir()
    for name in MOUTH_FILES:
        if not (mouth / name).is_file():
            raise AvatarError(f"The mouth in {mouth} lacks {name}; export it again.")
        shutil.copyfile(mouth / name, package / MOUTH / name)
    return MOUTH


def silent(step: str, done: int, total: int) -> None:
    """A `tell` that tells nobody."""
