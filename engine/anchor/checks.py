"""Is footage fit to become an avatar? Each finding says what is seen, where, and what to do.

What leaves no usable avatar is a problem: fewer than STRETCH seconds in one piece remain. All else is advice.
The limits below were tried on filmed clips of studio, news and phone quality, dim and half-lit ones among
them: docs/measurements.md.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.anchor.crop import Crop, Points, crop_from_landmarks
from engine.anchor.finding import Finding as Finding
from engine.anchor.finding import Severity
from engine.anchor.loops import at_rest
from engine.anchor.survey import MAX_SECONDS, Flags, Floats, Survey
from engine.speech.audio import FRAME_RATE

SHORTEST = 4.0
"""Seconds: an idle loop is at least this long."""

ENOUGH = 10.0
"""Seconds: below, the loop repeats so soon that viewers notice."""

STRETCH = 3.0
"""Seconds in one piece that an avatar needs."""

MIN_FACE = 64
"""Side of the mouth's square in working pixels: below, lips are a few pixels wide."""

SMALL_FACE = 120
"""The same: below, the mouth is drawn finer than the face around it."""

TURNED = 30.0
"""Degrees, sideways or up and down, from which a drawn mouth is mostly hidden (engine/anchor/shares.py)."""

DARK, DIM = 25.0, 45.0
"""Mean grey of the mouth's square, 0 to 255: where nothing can be made out, and where teeth and lips sink
into the dark. Dark skin in good light has 60 and more."""

GLARING, BRIGHT = 242.0, 222.0
"""The same where skin is burnt out, and where it begins to."""

PALE = 15.0
"""Deviation of grey in the square: a film through fog or a dirty lens; clear ones have 23 to 65."""

UNEVEN = 1.9
"""One cheek over the other: lamps beside the camera stay below 1.3, a window from the side makes 4."""

SHAPELESS, SOFT = 6.0, 34.0
"""Variance of the Laplacian of the square at 128x128: nothing to be made out, and visibly soft; what is in
focus has 50 and more."""

SLOW = 20.0
"""Pictures a second: below, movement stutters at 25."""

JUMP = 0.25
"""Step of the square in one picture, in its sides, that no head makes: a cut. Lively talk stays below 0.1."""

TILTED = 45.0
"""Degrees: a face that leans further lies on its side, as in a film whose turn got lost on the way."""

BORDER = 0.15
"""Share of the square's side that may lie outside of the picture: room for the dropping jaw."""

SILENCE = -60.0
"""dB full scale: a microphone that hears less is off."""

_BRIDGE = 5  # pictures without a face that count as a slip of the tracker
_MOMENT = 10  # pictures for which something has to last to be told
_OFTEN = 0.1  # share of the pictures that is worth telling without lasting
_REST = 2.0  # seconds of closed lips that make a loop without any help


@dataclass(frozen=True, slots=True)
class _Seen:
    """For each picture (n,) what keeps it out of an avatar."""

    lost: Flags
    crowded: Flags
    small: Flags
    cut_off: Flags
    turned: Flags
    tilted: Flags
    dark: Flags
    glaring: Flags
    shapeless: Flags
    covered: Flags
    jumps: Flags
    outside: Floats
    sizes: Floats

    @property
    def unfit(self) -> Flags:
        """None of it can be used."""
        return np.asarray(
            self.lost | self.crowded | self.small | self.cut_off | self.turned | self.tilted | self.dark
            | self.glaring | self.shapeless | self.covered | self.jumps
        )  # fmt: skip


def usable(survey: Survey) -> Flags:
    """(n,): the picture shows one face, inside the picture, towards the camera, in light and uncovered."""
    return ~_look(survey).unfit


def problems(findings: Sequence[Finding]) -> list[Finding]:
    """Those that leave no usable avatar."""
    return [finding for finding in findings if finding.severity == "problem"]


def check(survey: Survey) -> list[Finding]:
    """What is to be said about the footage: problems first, each kind once."""
    seen = _look(survey)
    found = [*_length(survey)]
    if seen.lost.mean() > 0.9:
        sentence = "No face is to be seen; film one person who looks into the camera, with light on the face."
        return [Finding("no-face", "problem", sentence), *found]
    found += _framing(seen)
    found += _light(survey, seen)
    found += _behaviour(survey, seen)
    found += _file(survey)
    if not problems(found) and _longest(~seen.unfit) < STRETCH * FRAME_RATE:
        sentence = (
            f"No {STRETCH:.0f} seconds in one piece show the face well; film again, alone, facing the "
            "camera, in even light."
        )
        found.append(Finding("no-stretch", "problem", sentence, {"seconds": STRETCH}))
    return sorted(found, key=lambda finding: finding.severity != "problem")


def _length(survey: Survey) -> list[Finding]:
    seconds = len(survey) / FRAME_RATE
    found = []
    if seconds < ENOUGH:
        sentence = f"The video lasts {seconds:.1f} s; film at least {ENOUGH:.0f} s, better two minutes."
        severity: Severity = "problem" if seconds < SHORTEST else "advice"
        found.append(Finding("too-short", severity, sentence, {"seconds": round(seconds, 1)}))
    if survey.source.duration_s > MAX_SECONDS + 1:
        minutes = MAX_SECONDS / 60
        sentence = f"Only the first {minutes:.0f} minutes are used; cut the video if the best comes later."
        found.append(Finding("too-long", "advice", sentence, {"minutes": minutes}))
    return found


def _framing(seen: _Seen) -> list[Finding]:
    median = float(np.nanmedian(seen.sizes))
    found = [
        _spell(
            "face-lost",
            seen.lost,
            "The face is lost {where}; stay in the picture, facing the camera.",
            _BRIDGE + 1,
        ),
        _spell(
            "two-faces",
            seen.crowded,
            "More than one face is to be seen {where}; film one person, without posters or mirrors behind.",
            _MOMENT,
        ),
        _spell(
            "face-cut",
            seen.cut_off,
            "The face leaves the picture {where}; keep all of it, chin included, inside.",
            1,
        ),
        _spell(
            "turned-away",
            seen.turned,
            "The head is turned so far away {where} that no mouth can be drawn; look into the camera.",
            FRAME_RATE,
        ),
        _spell(
            "sideways", seen.tilted, "The face lies on its side {where}; turn the video upright.", _MOMENT
        ),
    ]
    if median < SMALL_FACE:
        small = _longest(~seen.small) < STRETCH * FRAME_RATE
        sentence = (
            f"The face is small: its lower half is {median:.0f} pixels wide, {SMALL_FACE} are good; "
            "come closer or film with more pixels."
        )
        values: dict[str, float | str] = {"pixels": round(median), "good": SMALL_FACE}
        found.append(Finding("face-small", "problem" if small else "advice", sentence, values))
    outside = float(np.nanmedian(seen.outside))
    if found[2] is None and outside > BORDER:
        sentence = (
            "The face is close to the picture's edge; leave a hand's breadth around it, below the chin too."
        )
        found.append(Finding("face-cut", "advice", sentence, {"share": round(outside, 2)}))
    return [finding for finding in found if finding is not None]


def _light(survey: Survey, seen: _Seen) -> list[Finding]:
    light, contrast = float(np.nanmedian(survey.brightness)), float(np.nanmedian(survey.contrast))
    found = []
    if light < DIM or _fatal(seen.dark):
        sentence = (
            f"The face is dark ({light:.0f} of 255); turn towards a window or put a lamp behind the camera."
        )
        found.append(Finding("too-dark", _severity(seen.dark), sentence, {"light": round(light)}))
    if light > BRIGHT or _fatal(seen.glaring):
        sentence = f"The face is overexposed ({light:.0f} of 255); use less light or lower the exposure."
        found.append(Finding("too-bright", _severity(seen.glaring), sentence, {"light": round(light)}))
    if contrast < PALE:
        sentence = (
            "The picture is pale and flat; wipe the lens, avoid light from behind, switch off LOG profiles."
        )
        found.append(Finding("low-contrast", "advice", sentence, {"contrast": round(contrast)}))
    shade = float(np.nanmedian(survey.shade))
    if shade > UNEVEN:
        sentence = (
            f"One side of the face is {shade:.1f} times as bright as the other; bring the light to the front."
        )
        found.append(Finding("uneven-light", "advice", sentence, {"times": round(shade, 1)}))
    soft = np.nan_to_num(survey.sharpness, nan=np.inf) < SOFT
    if soft.mean() > 0.5 or _longest(soft) > FRAME_RATE:
        at = _first(soft, min(_longest(soft), FRAME_RATE))
        sentence = f"The face is blurred, first at {at:.1f} s; focus on it, hold still, use more light."
        found.append(Finding("blurred", _severity(seen.shapeless), sentence, {"at": at}, at))
    return found


def _behaviour(survey: Survey, seen: _Seen) -> list[Finding]:
    found = [
        _spell(
            "mouth-covered",
            seen.covered,
            "Something seems to cover the mouth {where}; keep hands, hair and microphone away from it.",
            _MOMENT,
            advice=True,
        )
    ]
    if seen.jumps.any():
        at = float(seen.jumps.argmax()) / FRAME_RATE
        sentence = f"There is a cut at {at:.1f} s; film in one piece."
        values: dict[str, float | str] = {"at": at, "count": int(seen.jumps.sum())}
        found.append(Finding("hidden-cut", "advice", sentence, values, at))
    if _longest(at_rest(survey) & ~seen.unfit) < _REST * FRAME_RATE:
        sentence = "The mouth never rests; sit still and silent for ten seconds, best at the beginning."
        found.append(Finding("never-at-rest", "advice", sentence))
    return [finding for finding in found if finding is not None]


def _file(survey: Survey) -> list[Finding]:
    source, found = survey.source, []
    seconds = len(survey) / FRAME_RATE
    if 0 < source.fps < SLOW:
        sentence = f"The video has {source.fps:.0f} pictures a second and will stutter; film with 25 or 30."
        found.append(Finding("low-frame-rate", "advice", sentence, {"rate": round(source.fps)}))
    if source.hdr:
        sentence = "The video is HDR and was converted to standard range; film without HDR for exact colours."
        found.append(Finding("hdr", "advice", sentence))
    if not (np.nan_to_num(survey.loudness, nan=-100.0) > SILENCE).any():
        sentence = "The video has no sound, which only the training of a mouth of one's own needs."
        found.append(Finding("no-sound", "advice", sentence))
    if survey.damage is not None or seconds < 0.9 * min(source.duration_s, MAX_SECONDS) - 0.2:
        sentence = f"The file breaks off after {seconds:.1f} s; send it again if it should be longer."
        found.append(Finding("broken-off", "advice", sentence, {"at": round(seconds, 1)}, seconds))
    return found


def _look(survey: Survey) -> _Seen:
    lost = np.isnan(survey.yaw)
    squares = [None if points is None else crop_from_landmarks(points) for points in survey.landmarks]
    sizes = np.array([np.nan if square is None else square.size for square in squares], np.float32)
    outside = np.array(
        [np.nan if square is None else _outside(square, survey.size) for square in squares], np.float32
    )
    inside = [points is None or _is_inside(points, survey.size) for points in survey.landmarks]
    light = np.where(lost, 128, survey.brightness)
    limit = np.radians(TILTED)
    angles = np.maximum(np.abs(np.nan_to_num(survey.yaw)), np.abs(np.nan_to_num(survey.pitch)))
    return _Seen(
        lost=lost,
        crowded=_lasting(survey.faces > 1, _BRIDGE),
        small=np.nan_to_num(sizes, nan=MIN_FACE) < MIN_FACE,
        cut_off=~np.array(inside, np.bool_),
        turned=np.asarray(angles > TURNED),
        tilted=np.array([square is not None and abs(square.angle) > limit for square in squares], np.bool_),
        dark=np.asarray(light < DARK),
        glaring=np.asarray(light > GLARING),
        shapeless=np.nan_to_num(survey.sharpness, nan=SOFT) < SHAPELESS,
        covered=_lasting(np.nan_to_num(survey.covered) > 0.5, _MOMENT),
        jumps=_jumps(squares),
        outside=outside,
        sizes=sizes,
    )


def _outside(square: Crop, size: tuple[int, int]) -> float:
    """How far a square reaches beyond the picture, in its sides."""
    reach = square.size / 2 * (abs(np.cos(square.angle)) + abs(np.sin(square.angle)))
    left, top = square.cx - reach, square.cy - reach
    beyond = max(-left, -top, square.cx + reach - size[0], square.cy + reach - size[1], 0)
    return float(beyond / square.size)


def _is_inside(points: Points, size: tuple[int, int]) -> bool:
    """Whether all of a face's points lie in the picture."""
    return bool((points >= 0).all() and (points <= np.array(size)).all())


def _jumps(squares: Sequence[Crop | None]) -> Flags:
    """True where the square is somewhere else than in the picture before."""
    jumps = np.zeros(len(squares), np.bool_)
    for number, (before, here) in enumerate(itertools.pairwise(squares), start=1):
        if before is not None and here is not None:
            step = float(np.hypot(here.cx - before.cx, here.cy - before.cy))
            jumps[number] = max(step, abs(here.size - before.size)) > JUMP * before.size
    return jumps


def _spell(code: str, flags: Flags, sentence: str, least: int, *, advice: bool = False) -> Finding | None:
    """A finding where `flags` hold for `least` pictures in a row or often; `{where}` in the sentence is
    filled in.
    """
    if _longest(flags) < least and flags.mean() < _OFTEN:
        return None
    at, total = _first(flags, min(least, _longest(flags))), float(flags.sum()) / FRAME_RATE
    where = f"at {at:.1f} s" if total < 1 else f"for {total:.1f} s, first at {at:.1f} s"
    severity: Severity = "advice" if advice else _severity(flags)
    values: dict[str, float | str] = {"at": round(at, 1), "seconds": round(total, 1)}
    return Finding(code, severity, sentence.format(where=where), values, at)


def _severity(flags: Flags) -> Severity:
    return "problem" if _fatal(flags) else "advice"


def _fatal(flags: Flags) -> bool:
    """Whether what is flagged leaves no stretch that is long enough; in a short film, anything of it."""
    return _longest(~flags) < min(STRETCH * FRAME_RATE, len(flags))


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """(first, last exclusive) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _longest(flags: Flags) -> int:
    return max((last - first for first, last in _runs(flags)), default=0)


def _first(flags: Flags, least: int) -> float:
    """Seconds at which the first run of `least` pictures begins."""
    return next(first for first, last in _runs(flags) if last - first >= least) / FRAME_RATE


def _lasting(flags: Flags, least: int) -> Flags:
    """Only the runs of `least` pictures or more."""
    kept = np.zeros(len(flags), np.bool_)
    for first, last in _runs(flags):
        kept[first:last] = last - first >= least
    return kept
