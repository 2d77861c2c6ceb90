"""From a video of somebody who keeps still and silent to an avatar package."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.card import ANCHOR, IDLE, MATTE, AvatarCard, Clip, Consent, write_card
from engine.anchor.crop import Crop, Picture, Points, crop_from_landmarks, mouth_outline, smooth_crops
from engine.anchor.matte import Matter
from engine.anchor.tracker import FaceTracker
from engine.anchor.walk import Loop
from engine.errors import AvatarError, NoFaceError
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MOUTH_SHEET, read_sheet
from engine.picture.video import VideoWriter, read_rgb
from engine.picture.yuv import to_i420
from engine.speech.audio import FRAME_RATE

MAX_SIDE = 1280
"""Larger videos are shrunk to this."""

MIN_FRAMES = FRAME_RATE
MAX_FRAMES = 60 * FRAME_RATE

_MAX_GAP = 5  # frames without a face that may lie between two with one
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)


@dataclass(frozen=True, slots=True)
class AvatarFacts:
    """What a package says beside its pictures; `title` by language."""

    title: dict[str, str] = field(default_factory=dict)
    licence: str = "all rights reserved"
    consent: Consent | None = None
    credits: str = ""


@dataclass(slots=True)
class _Tracked:
    """What tracking learns: the video's pictures on disk, landmarks per frame (None in gaps)."""

    size: tuple[int, int]
    landmarks: list[Points | None]


def prepare(
    video: Path,
    name: str,
    output: Path,
    mouth: Path,
    tracker: FaceTracker,
    *,
    loop: Loop = "pingpong",
    facts: AvatarFacts | None = None,
    matter: Matter | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Make the avatar package `output`/`name` from `video` and return its folder.

    `mouth` is the folder of a trained mouth; inside `output` it is referred to, from elsewhere it is copied.
    `loop`: "forward" for a video whose end meets its beginning. `matter` makes the mattes for a clear
    background. `progress` is told each tracked frame.
    Raises NoFaceError when a face is missing, BadMediaError for a file that is no video, AvatarError when the
    package exists already or the mouth is unusable; then nothing is left behind.
    """
    target = output / name
    if not name or Path(name).name != name or name.startswith("."):
        raise AvatarError(f"{name!r} cannot name an avatar; use letters, digits and hyphens.")
    if target.exists():
        raise AvatarError(f"{target} exists already; choose another name or remove it first.")
    created = not output.exists()
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=output) as folder:
            package = Path(folder) / name
            package.mkdir()
            _fill(package, video, mouth, tracker, loop, facts or AvatarFacts(), matter, progress)
            package.rename(target)
    finally:
        if created and not any(output.iterdir()):
            output.rmdir()
    return target


def _fill(
    package: Path,
    video: Path,
    mouth: Path,
    tracker: FaceTracker,
    loop: Loop,
    facts: AvatarFacts,
    matter: Matter | None,
    progress: Callable[[int], None] | None,
) -> None:
    crop_size = read_sheet(mouth).size
    tracked = _track(video, package, tracker, matter, progress)
    landmarks = _bridge_gaps(tracked.landmarks, video)
    crops = smooth_crops([crop_from_landmarks(points) for points in landmarks], loop=loop == "forward")
    clip = Clip(
        IDLE,
        "idle",
        ANCHOR,
        loop,
        tuple(crops),
        tuple(_outline(points, crop) for points, crop in zip(landmarks, crops, strict=True)),
        (1.0,) * len(crops),
    )
    card = AvatarCard(
        name=package.name,
        title=facts.title or {"en": package.name, "zh": package.name},
        size=tracked.size,
        clips=(clip,),
        crop_size=crop_size,
        mouth_box=_mouth_box(landmarks, crops),
        mouth=_place_mouth(mouth, package),
        model=mouth.resolve().name,
        licence=facts.licence,
        consent=facts.consent,
        credits=facts.credits,
    )
    write_card(package, card)


def _track(
    video: Path,
    package: Path,
    tracker: FaceTracker,
    matter: Matter | None,
    progress: Callable[[int], None] | None,
) -> _Tracked:
    """Write the anchor video as the engine will see it, and its mattes; track every picture of it."""
    frames = read_rgb(video)
    first = _fit(next(frames))
    size = (first.shape[1], first.shape[0])
    landmarks: list[Points | None] = []
    with ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(package / ANCHOR, size))
        mattes = stack.enter_context(VideoWriter(package / MATTE, size)) if matter else None
        for picture in itertools.chain([first], map(_fit, itertools.islice(frames, MAX_FRAMES - 1))):
            time_ms = len(landmarks) * 1000 // FRAME_RATE
            face = tracker.track(picture, time_ms)
            landmarks.append(None if face is None else face.landmarks)
            writer.write(to_i420(picture))
            if matter is not None and mattes is not None:
                mattes.write(to_i420(np.repeat(matter.matte(picture, time_ms)[..., None], 3, axis=2)))
            if progress is not None:
                progress(len(landmarks))
    return _Tracked(size, landmarks)


def _fit(picture: Picture) -> Picture:
    """Shrunk to MAX_SIDE and cut to even sides."""
    height, width = picture.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    width, height = (max(2, round(side * scale) // 2 * 2) for side in (width, height))
    if scale < 1:
        return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(picture[:height, :width])


def _bridge_gaps(landmarks: Sequence[Points | None], video: Path) -> list[Points]:
    """Landmarks of every frame; short gaps are filled along a straight line. Raises NoFaceError."""
    known = [number for number, points in enumerate(landmarks) if points is not None]
    if not known:
        raise NoFaceError(f"{video.name} shows no face; give a video of one person looking into the camera.")
    if len(landmarks) < MIN_FRAMES:
        raise NoFaceError(f"{video.name} is shorter than one second; give 5 to 60 seconds of video.")
    edges = [-1, *known, len(landmarks)]
    for before, after in itertools.pairwise(edges):
        if after - before - 1 > _MAX_GAP:
            at = (before + 1) / FRAME_RATE
            raise NoFaceError(
                f"{video.name} loses the face at {at:.1f} s; give a video that shows it all the time."
            )
    stack: NDArray[np.float32] = np.stack([points for points in landmarks if points is not None])
    flat = stack.reshape(len(known), -1)
    numbers = np.arange(len(landmarks))
    filled = np.stack([np.interp(numbers, known, column) for column in flat.T], axis=1)
    return list(filled.astype(np.float32).reshape(len(landmarks), *stack.shape[1:]))


def _outline(landmarks: Points, crop: Crop) -> tuple[float, ...]:
    return tuple(float(value) for value in mouth_outline(landmarks, crop).ravel())


def _mouth_box(landmarks: Sequence[Points], crops: Sequence[Crop]) -> tuple[float, float, float, float]:
    lips = np.stack([c.to_crop(p[list(_LIPS)], 1) for p, c in zip(landmarks, crops, strict=True)])
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
