"""A person's own footage as clips to learn from, in which nothing tells the mouth but the sound.

The input of a clip is a resting face of the avatar's own anchor, just what the live engine sees; its pictures
are that face with the mouths of some moments of the footage transplanted onto it. The footage's last part is
kept for judging.
"""

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import ANCHOR
from engine.anchor.crop import (
    Crop,
    Mask,
    Outline,
    Picture,
    Points,
    crop_from_landmarks,
    extract,
    mouth_outline,
    smooth_crops,
)
from engine.anchor.package import Avatar
from engine.anchor.tracker import Face
from engine.anchor.transplant import aligned, misfit, transplant_crop
from engine.errors import BadMediaError, NoFaceError
from engine.evaluate.lips import aperture
from engine.evaluate.track import NewTracker, Track, track
from engine.picture.video import read_rgb
from engine.speech.audio import FRAME_RATE, Samples, load_speech
from engine.speech.gate import voiced_ticks
from training.clips import MARGIN, ClipCard, encode, lip_centre, padded, span, write_clip
from training.models.discriminator import FRAMES
from training.preprocess.embedder import FaceEmbedder
from training.preprocess.faces import FACE_POINTS
from training.preprocess.limits import LEAD, Limits
from training.preprocess.persons import moments
from training.preprocess.sync import decide
from training.sync_score import SyncJudge

LEAST_SPEECH_S = 5.0
"""Less speech than this teaches nothing."""

ENOUGH_SPEECH_S = 20.0
"""Below this the user is warned."""

MAX_MISFIT = 0.06
"""Heads turned more differently than this (transplant.misfit) do not exchange mouths."""

HELD_OUT = 0.18
"""Share of the footage, at its end, that is kept for judging; of short footage more."""

_LEAST_HELD, _MOST_HELD = 100, 0.35  # pictures that a judgement needs; share that it may take
_GAP = 25  # ticks between both parts: the sound that a clip keeps around it must not reach across
_RUN = 8  # pictures over one resting face
_STORED = 256
_SMOOTH = 2.0  # sigma, pictures: the tracker's trembling would be learned as blur
_CHOICES = 4  # resting faces of nearly the same view to draw from
_SILENT_SHARE = 0.2
_NOSE = 1  # of an outline's points
_AROUND = 0.03  # share of the side around the jaw that still belongs to the face
_JUDGED = 300  # pictures in which the sound's offset is looked for
_STRANGER = 1.2  # times the embedder's threshold for one person

Tell = Callable[[str, int, int], None]
"""Is told (step, done, of how many)."""


@dataclass(frozen=True, slots=True)
class Footage:
    """One reading of a person's video: faces and smoothed points of each picture (None where there is none),
    its sound moved into sync with the pictures, which pictures somebody speaks in.
    """

    video: Path
    faces: Track
    points: list[Points | None]
    samples: Samples
    voiced: NDArray[np.bool_]
    shift: int

    @property
    def speech_s(self) -> float:
        """Seconds in which somebody speaks and is seen."""
        seen = np.array([points is not None for points in self.points])
        return float(np.count_nonzero(self.voiced & seen)) / FRAME_RATE


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a footage: pictures `start` to `stop`."""

    footage: Footage
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Rest:
    """The anchor's resting faces: their numbers among the avatar's frames, and their points."""

    avatar: Avatar
    frames: list[int]
    points: list[Points]


@dataclass(frozen=True, slots=True)
class _Run:
    """Some pictures in a row of a footage, and the anchor frame whose face they get."""

    footage: Footage
    start: int
    rest: int


def read_footage(
    video: Path, new_tracker: NewTracker, judge: SyncJudge | None, tell: Tell | None = None
) -> Footage:
    """Follow the face through a video and bring its sound into sync where `judge` is sure that it is not.

    Raises BadMediaError for a video without sound or one that cannot be read, NoFaceError without a face.
    """
    if tell:
        tell(f"looking at {video.name}", 0, 0)
    samples = load_speech(video)
    if not samples.size or float(np.abs(samples).max()) < 1e-4:
        raise BadMediaError(f"{video.name} is silent; give footage with the sound of the person's voice.")
    faces = track(video, new_tracker)
    crops = faces.crops()  # raises NoFaceError
    points = smoothed([None if face is None else face.landmarks for face in faces.faces])
    shift = _offset(video, crops, samples, judge) if judge else 0
    count = len(points)
    moved = span(samples, shift, count)
    return Footage(video, faces, points, moved, voiced_ticks([moved], count), shift)


def smoothed(points: Sequence[Points | None]) -> list[Points | None]:
    """Each stretch of points smoothed over time (Gaussian), its gaps left as they are."""
    out: list[Points | None] = list(points)
    for there, group in itertools.groupby(range(len(points)), key=lambda at: points[at] is not None):
        numbers = list(group)
        if not there or len(numbers) < 3:
            continue
        stack = np.stack([np.asarray(points[at], np.float32) for at in numbers])
        reach = min(int(3 * _SMOOTH), len(numbers) - 1)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTH) ** 2)
        edges = np.pad(stack, ((reach, reach), (0, 0), (0, 0)), mode="edge")
        near = np.lib.stride_tricks.sliding_window_view(edges, 2 * reach + 1, axis=0)
        mean = (near @ (kernel / kernel.sum())).astype(np.float32)
        out[numbers[0] : numbers[-1] + 1] = list(mean)
    return out


def split(footage: Sequence[Footage]) -> tuple[list[Part], list[Part]]:
    """What to learn from and what to judge by: of each video its last part, with a gap between."""
    learn, judge = [], []
    for one in footage:
        count = len(one.points)
        cut = count - round(min(max(count * HELD_OUT, _LEAST_HELD), count * _MOST_HELD))
        learn.append(Part(one, 0, max(0, cut - _GAP)))
        judge.append(Part(one, cut, count))
    return learn, judge


def resting_faces(avatar: Avatar, new_tracker: NewTracker) -> Rest:
    """The idle clip's faces with a closed mouth. Raises NoFaceError when the tracker finds none."""
    faces = track(avatar.folder / ANCHOR, new_tracker).faces
    points = smoothed([None if face is None else face.landmarks for face in faces])
    known = [(at, face) for at, face in enumerate(faces) if face is not None and avatar.card.shares[at] > 0]
    if not known:
        raise NoFaceError(f"The anchor of {avatar.name} shows no face; create the avatar again.")
    widest = float(np.percentile([aperture(face) for _, face in known], 50)) + 0.006
    frames = [at for at, face in known if aperture(face) <= widest]
    return Rest(avatar, frames, [found for at in frames if (found := points[at]) is not None])


def check_person(footage: Footage, rest: Rest, embedder: FaceEmbedder) -> None:
    """Raises BadMediaError when the footage clearly shows somebody else than the avatar."""
    anchor = [(rest.avatar.rgb(rest.frames[at]), rest.points[at]) for at in moments(len(rest.frames))]
    seen = [at for at, points in enumerate(footage.points) if points is not None]
    wanted = {seen[at] for at in moments(len(seen))}
    filmed = [
        (frame, points)
        for number, (frame, points) in enumerate(zip(read_rgb(footage.video), footage.points, strict=False))
        if number in wanted and points is not None
    ]
    one, other = (
        np.mean([embedder.embed(frame, points[list(FACE_POINTS)]) for frame, points in faces], axis=0)
        for faces in (anchor, filmed)
    )
    if float(np.linalg.norm(one - other)) > _STRANGER * embedder.threshold:
        raise BadMediaError(
            f"{footage.video.name} seems to show somebody else than {rest.avatar.name}; give footage of the "
            "same person in like light, or --same-person if it is."
        )


def write_clips(
    parts: Sequence[Part], rest: Rest, folder: Path, *, seed: int = 0, tell: Tell | None = None
) -> int:
    """Writes the clips of `parts` below `folder`, anew and whole; returns how many.

    Raises BadMediaError when the footage's head is never turned as the anchor's is.
    """
    runs = _runs(parts, rest, np.random.default_rng(seed))
    if not runs:
        raise BadMediaError(
            "The head in the footage is never turned as in the avatar's anchor; film both the same way."
        )
    shutil.rmtree(folder, ignore_errors=True)
    masks = {run.rest: _padded_mask(rest.avatar.mask(run.rest)) for run in runs}
    done = 0
    for footage, group in itertools.groupby(runs, key=lambda run: run.footage):
        waiting = list(group)
        pictures: list[Picture] = []
        for number, frame in enumerate(read_rgb(footage.video)):
            if not waiting:
                break
            run = waiting[0]
            if number >= run.start:
                pictures.append(_transplanted(frame, number, run, rest, masks[run.rest]))
            if number == run.start + _RUN - 1:
                _store(folder / f"{done:05d}", run, rest, pictures)
                waiting.pop(0)
                pictures, done = [], done + 1
                if tell:
                    tell("clips", done, len(runs))
    return done


def _runs(parts: Sequence[Part], rest: Rest, random: np.random.Generator) -> list[_Run]:
    """Runs of pictures that show a face and have a resting face of the same view."""
    speaking: list[_Run] = []
    silent: list[_Run] = []
    for part in parts:
        for start in range(part.start, part.stop - _RUN + 1, _RUN):
            points = part.footage.points[start : start + _RUN]
            middle = points[_RUN // 2]
            if middle is None or any(one is None for one in points):
                continue
            far = np.array([misfit(still, middle) for still in rest.points])
            if far.min() > MAX_MISFIT:
                continue
            near = [at for at in np.argsort(far)[:_CHOICES] if far[at] <= 1.3 * far.min() + 0.002]
            run = _Run(part.footage, start, rest.frames[int(random.choice(near))])
            spoken = part.footage.voiced[start : start + _RUN].any()
            (speaking if spoken else silent).append(run)
    keep = min(len(silent), max(1, round(_SILENT_SHARE * len(speaking))))
    kept = [silent[at] for at in sorted(random.permutation(len(silent))[:keep])]
    order = {id(part.footage): number for number, part in enumerate(parts)}
    return sorted([*speaking, *kept], key=lambda run: (order[id(run.footage)], run.start))


def _transplanted(frame: Picture, number: int, run: _Run, rest: Rest, mask: Mask) -> Picture:
    still, points = rest.points[rest.frames.index(run.rest)], run.footage.points[number]
    assert points is not None
    crop = padded(rest.avatar.card.crops[run.rest])
    jaws = mouth_outline(still, crop), mouth_outline(points, aligned(crop, still, points))
    return transplant_crop(rest.avatar.rgb(run.rest), still, frame, points, crop, mask * _faces_only(*jaws))


def _store(folder: Path, run: _Run, rest: Rest, pictures: Sequence[Picture]) -> None:
    crop = padded(rest.avatar.card.crops[run.rest])
    lips = lip_centre(rest.points[rest.frames.index(run.rest)], crop)
    card = ClipCard(
        person=rest.avatar.name,
        source=run.footage.video.name,
        start_s=run.start / FRAME_RATE,
        frames=_RUN,
        size=_STORED,
        margin=MARGIN,
        lead=LEAD,
        lips=[lips] * _RUN,
        idle=True,
        offset=run.footage.shift,
    )
    idle = extract(rest.avatar.rgb(run.rest), crop, _STORED)
    samples = span(run.footage.samples, run.start - LEAD, _RUN + 2 * LEAD)
    write_clip(folder, card, [encode(picture) for picture in pictures], samples, encode(idle))


def _faces_only(still: Outline, moved: Outline) -> Mask:
    """One where either lower face is, below the nose: nose and collar stay those of the resting picture."""
    below = np.concatenate([np.delete(one, _NOSE, axis=0) for one in (still, moved)])
    hull = cv2.convexHull(below.astype(np.float32) * _STORED)
    mask = np.zeros((_STORED, _STORED), np.float32)
    cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1.0)
    reach = round(_AROUND * _STORED) | 1
    grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), 0.5 * reach), np.float32)


def _padded_mask(mask: Mask) -> Mask:
    """The paste mask of a crop, in the wider square that clips keep."""
    side = len(mask)
    scale = _STORED / MARGIN / side
    shift = _STORED * (1 - 1 / MARGIN) / 2 + 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, shift], [0, scale, shift]])
    return np.asarray(cv2.warpAffine(mask, matrix, (_STORED, _STORED), flags=cv2.INTER_LINEAR), np.float32)


def _offset(video: Path, crops: Sequence[Crop], samples: Samples, judge: SyncJudge) -> int:
    """Ticks by which the sound comes late, 0 where the judge is not sure. It looks where most is said."""
    voiced = voiced_ticks([span(samples, 0, len(crops))], len(crops))
    spoken = np.concatenate([[0], np.cumsum(voiced)])
    length = min(_JUDGED, len(crops))
    if length < FRAMES:
        return 0
    start = int(np.argmax(spoken[length:] - spoken[:-length]))
    stretch = itertools.islice(zip(read_rgb(video), crops, strict=False), start, start + length)
    pictures = [extract(frame, crop, judge.size) for frame, crop in stretch]
    verdict = decide(judge.judge(pictures, span(samples, start, len(pictures))), Limits())
    return verdict.shift if verdict.sure and verdict.reason is None else 0


def truth_of(part: Part) -> tuple[Track, Samples]:
    """The filmed faces of a part and their sound."""
    faces: list[Face | None] = part.footage.faces.faces[part.start : part.stop]
    return (
        Track(part.footage.video, part.footage.faces.size, faces),
        span(part.footage.samples, part.start, part.stop - part.start),
    )


def filmed_mouths(part: Part, size: int) -> list[Picture]:
    """The house crop (size, size) of each picture of a part, as filmed."""
    known = [None if points is None else crop_from_landmarks(points) for points in part.footage.points]
    wanted = range(part.start, part.stop)
    crops = smooth_crops([crop for crop in known if crop is not None])
    there = iter(crops)
    each = [None if crop is None else next(there) for crop in known]
    pictures = []
    for number, frame in enumerate(read_rgb(part.footage.video)):
        crop = each[number] if number < len(each) else None
        if number in wanted and crop is not None:
            pictures.append(extract(frame, crop, size))
    return pictures
