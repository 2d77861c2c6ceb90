"""A further clip in an avatar: another posture to talk in, a greeting, a gesture."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import CLIP_NAME, AvatarCard, Clip, ClipKind, read_card, write_card
from engine.anchor.checks import usable
from engine.anchor.choose_matte import MatteChoice
from engine.anchor.create import choose_loop, film, longest_clip, look, no_loop, silent
from engine.anchor.crop import Crop, crop_from_landmarks
from engine.anchor.face_track import follow_face
from engine.anchor.finding import Finding
from engine.anchor.loops import at_rest, closed_lips
from engine.anchor.prepare import Cut, loop_cut, whole_cut
from engine.anchor.resting import Lenders, find_lenders
from engine.anchor.survey import Survey, Tell
from engine.anchor.walk import Loop
from engine.errors import AvatarError, FootageError
from engine.evaluate.jitter import corners
from engine.picture.fit import Fit
from engine.speech.audio import FRAME_RATE

SHORTEST = FRAME_RATE
"""A gesture lasts at least a second."""

_ONCE_FORGIVES = ("too-short", "no-stretch", "never-at-rest", "no-sound")
_LOOP_FORGIVES = ("no-sound",)
_SHAPE = 0.02  # by which width over height may differ from the avatar's
_AWAY, _SCALE = 0.5, 1.3  # how far the face may be from where it idles, in its sides, and how much larger
_ENDS = 1 / 3  # share of a clip at either end in which it may begin and end
_STEP = 0.01  # of the square's side: by so much a cross-fade may move a face without being seen
_SPEAKING = 2.0  # steps that a mouth in motion at an end is worth
_LOST = 1.0  # steps that a second cut off is worth
_CALM = 0.9  # share of a clip's pictures with the mouth at rest that need no help


@dataclass(frozen=True, slots=True)
class Added:
    """A clip that was added; `taken_s` from and to which second of its video."""

    clip: Clip
    taken_s: tuple[float, float]
    findings: tuple[Finding, ...]
    matte: bool


def add_clip(
    avatar: Path,
    video: Path,
    name: str,
    kind: ClipKind,
    *,
    matte: MatteChoice = "auto",
    tracker: str = "mediapipe",
    tell: Tell | None = None,
) -> Added:
    """Add the clip `name` made from `video` to the package in the folder `avatar`.

    "talking" goes round like the idle clip; "greeting" and "gesture" are shown once and are cut to begin and
    end near the idle clip's poses. Raises FootageError for unfit footage, AvatarError for a name that is bad
    or taken or a package that cannot take it, BadMediaError; then the package is as before.
    """
    say = tell or silent
    card = read_card(avatar)
    _check(card, name, kind)
    once = kind != "talking"
    surveyed, findings = look(video, tracker, say, forgive=_ONCE_FORGIVES if once else _LOOP_FORGIVES)
    _check_framing(card, surveyed)
    say("loop", 0, 1)
    stretch = _once(card, surveyed) if once else _round(surveyed)
    say("loop", 1, 1)
    template = Clip(name, kind, f"clips/{name}.mp4", stretch.loop, (), (), ())
    has_matte = (avatar / card.idle.matte_file).is_file()
    with tempfile.TemporaryDirectory(prefix=f".{avatar.name}-", dir=avatar.resolve().parent) as folder:
        filmed = film(
            Path(folder), template, video, surveyed, stretch.cut, stretch.lenders,
            matte if has_matte else "none", say, canvas=card.size,
        )  # fmt: skip
        if has_matte and not filmed.matte:
            raise AvatarError(
                f"The avatar {card.name} has a clear background, which this clip would end, as no matte "
                "can be made of its wall; film it in front of the same wall or give one with --matte FILE."
            )
        say("write", 0, 1)
        _put(Path(folder), avatar, card, filmed.clip)
    say("write", 1, 1)
    taken = (stretch.cut.pictures[0] / FRAME_RATE, (stretch.cut.pictures[-1] + 1) / FRAME_RATE)
    advice = [*findings, *stretch.findings, *filmed.findings]
    return Added(filmed.clip, taken, tuple(advice), filmed.matte)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Which pictures a clip is made of and how they go round; who closes the mouth in them."""

    cut: Cut
    loop: Loop
    lenders: Lenders | None
    findings: tuple[Finding, ...] = ()


def _round(surveyed: Survey) -> _Stretch:
    """A posture to talk in: as the idle loop, its mouth at rest, since the live one is drawn onto it."""
    idle, lenders = choose_loop(surveyed)
    if idle is None:
        raise FootageError([no_loop()])
    return _Stretch(loop_cut(idle), idle.loop, lenders)


def _once(card: AvatarCard, surveyed: Survey) -> _Stretch:
    """The whole of the video but for its ends, which are cut where they are near the idle clip's poses, still
    and with the mouth at rest.
    """
    count, fit = len(surveyed.landmarks), usable(surveyed)
    first_face, last_face = _seen(surveyed)
    calm = at_rest(surveyed) | closed_lips(surveyed)
    reach = round(_ENDS * (last_face - first_face))
    track = follow_face(surveyed, fit, first_face, last_face)
    canvas = Fit(surveyed.size, card.size)
    steps = _steps_to_idle(card, [canvas.crop(crop) for crop in track.crops])
    steps += _SPEAKING * ~calm[first_face:last_face]
    lost = np.arange(len(steps)) * (_LOST / FRAME_RATE)
    first = first_face + int(np.argmin((steps + lost)[: max(1, reach)]))
    last = last_face - int(np.argmin((steps[::-1] + lost)[: max(1, reach)]))
    if last - first > longest_clip(card.size):
        seconds = longest_clip(card.size) / FRAME_RATE
        sentence = f"The clip is longer than {seconds:.0f} s, all that memory allows; film less."
        raise FootageError([Finding("clip-long", "problem", sentence, {"seconds": round(seconds)})])
    if last - first < SHORTEST or count < SHORTEST:
        sentence = "The clip is shorter than one second; film a longer one, beginning and ending at rest."
        raise FootageError([Finding("clip-short", "problem", sentence)])
    if calm[first:last].mean() >= _CALM:
        return _Stretch(whole_cut(first, last), "once", None)
    lenders = find_lenders(surveyed, fit)
    if lenders.reach[first:last].all():
        return _Stretch(whole_cut(first, last), "once", lenders)
    sentence = "The mouth moves in this clip, also when nothing is said; film gestures with the mouth closed."
    return _Stretch(whole_cut(first, last), "once", None, (Finding("clip-speaks", "advice", sentence),))


def _seen(surveyed: Survey) -> tuple[int, int]:
    """From the first to after the last picture with a face."""
    known = [number for number, points in enumerate(surveyed.landmarks) if points is not None]
    return known[0], known[-1] + 1


def _steps_to_idle(card: AvatarCard, crops: list[Crop]) -> NDArray[np.float64]:
    """(n,): how many steps that are just visible each square is from the nearest one of the idle clip, and
    how many it moves from picture to picture.
    """
    ours, theirs = (
        np.stack([corners(crop) for crop in some]).reshape(len(some), -1) for some in (crops, card.idle.crops)
    )
    side = float(np.median([crop.size for crop in card.idle.crops]))
    apart = np.array([np.linalg.norm(theirs - one, axis=1).min() for one in ours]) / (2 * side)
    moved = np.linalg.norm(np.gradient(ours, axis=0), axis=1) / (2 * side)
    return np.asarray((apart + moved) / _STEP, np.float64)


def _check(card: AvatarCard, name: str, kind: ClipKind) -> None:
    """Raises AvatarError when the package cannot take such a clip."""
    if kind == "idle":
        raise AvatarError("An avatar has one idle clip, its first; add a talking, greeting or gesture clip.")
    if not CLIP_NAME.fullmatch(name):
        raise AvatarError(f"{name!r} cannot name a clip; use lower-case letters, digits and hyphens.")
    if any(clip.name == name for clip in card.clips):
        raise AvatarError(f"The avatar {card.name} has a clip {name} already; choose another name.")
    if not card.outlines:
        raise AvatarError(
            f"The avatar {card.name} has one mask for all its pictures, so it takes no further clips; create "
            "it again from its video."
        )


def _check_framing(card: AvatarCard, surveyed: Survey) -> None:
    """Raises FootageError when the clip was filmed from elsewhere than the avatar."""
    (width, height), (wide, high) = surveyed.size, card.size
    if abs(width / height / (wide / high) - 1) > _SHAPE:
        sentence = (
            f"The clip is {width}x{height}, the avatar {wide}x{high}; film both with the camera held alike."
        )
        raise FootageError([Finding("clip-shape", "problem", sentence)])
    canvas = Fit(surveyed.size, card.size)
    ours = [canvas.crop(crop_from_landmarks(points)) for points in surveyed.landmarks if points is not None]
    (x, y, side), (there_x, there_y, there_side) = (
        np.median([(crop.cx, crop.cy, crop.size) for crop in crops], axis=0)
        for crops in (ours, card.idle.crops)
    )
    scale = max(side / there_side, there_side / side)
    if np.hypot(x - there_x, y - there_y) > _AWAY * there_side or scale > _SCALE:
        sentence = (
            "The face is elsewhere in the clip than in the avatar, or of another size; film both in one go, "
            "without moving the camera."
        )
        raise FootageError([Finding("clip-framing", "problem", sentence)])


def _put(folder: Path, avatar: Path, card: AvatarCard, clip: Clip) -> None:
    """Move the clip's files into the package, then name it in the card; when that fails they go again."""
    moved: list[Path] = []
    try:
        (avatar / "clips").mkdir(exist_ok=True)
        for file in (clip.file, clip.matte_file):
            if (folder / file).is_file():
                moved.append(avatar / file)
                (folder / file).replace(avatar / file)
        write_card(avatar, replace(card, clips=(*card.clips, clip)))
    except OSError as error:
        for path in moved:
            path.unlink(missing_ok=True)
        raise AvatarError(
            f"The avatar {card.name} cannot be changed ({error.strerror}); see that its folder is writable."
        ) from error
