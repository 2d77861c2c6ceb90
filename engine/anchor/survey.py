"""What one reading of somebody's footage tells: enough to judge it and to choose an idle loop from it."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.canonical import head_pose
from engine.anchor.cover import covered, mouth_patch
from engine.anchor.crop import Crop, Picture, Points, crop_from_landmarks, extract
from engine.anchor.finding import Finding
from engine.anchor.tracker import Face, FacesTracker
from engine.errors import BadMediaError, FootageError, NoPictureError
from engine.picture.clarity import clarity
from engine.picture.source import Source, probe
from engine.picture.video import read_rgb
from engine.speech.audio import FRAME_RATE, SAMPLES_PER_TICK, from_pcm16, level_db
from engine.speech.gate import voiced_ticks
from engine.speech.timeline import write_sound

MAX_SIDE = 1920
"""Longest side of the working pictures; larger footage is shrunk to this."""

MAX_SECONDS = 180
"""What comes later is not looked at."""

MAX_FACES = 3
"""Faces that are looked for: one to keep, more to know that somebody else is there."""

BACKGROUND = 0.5
"""Faces below this share of the largest face count as background."""

THUMB = 48
"""Side of the grey pictures by which a loop's jump is measured."""

STEP = "look"
"""What the progress of a survey is called."""

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

Tell = Callable[[str, int, int], None]
"""Is told (step, done, of how many); 0 where nobody knows how many."""

_CHEEKS = (205, 425)
_CHEEK = 0.12  # side of the square that is looked at on each, in sides of the mouth's square


@dataclass(frozen=True, slots=True)
class Survey:
    """One reading of a video: n pictures at 25 a second, in working pixels.

    What is measured on a face is NaN where a picture shows none. Angles are degrees: `yaw` grows as the face
    turns towards the picture's right side, `pitch` as it looks up. `sharpness` (variance of the Laplacian at
    128x128), `brightness` and `contrast` (mean and deviation of grey, 0 to 255) are those of the mouth's
    square; `shade` is the brighter cheek's mean over the darker one's, 1 for even light. `covered` in [0, 1]
    tells how sure it is that something lies over the mouth. `loudness` is dB full scale of each picture's
    sound, NaN without sound; `voiced` is what the house's voice gate says. `damage` is the message where the
    file broke off.
    """

    source: Source
    size: tuple[int, int]
    """(width, height) of the working pictures, both even."""
    landmarks: list[Points | None]
    """(478, 2) of the presenter, who is the largest face."""
    jaw_open: Floats
    yaw: Floats
    pitch: Floats
    faces: NDArray[np.uint8]
    """How many faces of comparable size are to be seen."""
    sharpness: Floats
    brightness: Floats
    contrast: Floats
    shade: Floats
    covered: Floats
    thumbs: NDArray[np.uint8]
    """(n, THUMB, THUMB) whole pictures in grey."""
    loudness: Floats
    voiced: Flags
    damage: str | None = None

    def __len__(self) -> int:
        return len(self.landmarks)


def survey(
    video: Path, tracker: FacesTracker, tell: Tell | None = None, *, max_side: int = MAX_SIDE
) -> Survey:
    """Read `video` once; the tracker stays open. Raises as `source_of` does."""
    source = source_of(video)
    notes = _Notes()
    seconds = min(source.duration_s, MAX_SECONDS)
    with _told_as_findings():
        damage = _watch(video, tracker, notes, max_side, tell, round(seconds * FRAME_RATE))
    loudness, voiced = _listen(video, source, len(notes))
    return notes.survey(source, loudness, voiced, damage)


def source_of(video: Path) -> Source:
    """The facts of a video file, at a glance.

    Raises FootageError for a file without pictures or one that cannot be read, BadMediaError when there is
    no such file.
    """
    if not video.is_file():
        raise BadMediaError(f"There is no video file at {video}; check the path.")
    with _told_as_findings():
        return probe(video)


@contextmanager
def _told_as_findings() -> Iterator[None]:
    try:
        yield
    except NoPictureError as error:
        raise FootageError([Finding("no-picture", "problem", str(error))]) from error
    except BadMediaError as error:
        raise FootageError([Finding("unreadable", "problem", str(error))]) from error


def counted_faces(faces: Sequence[Face]) -> list[tuple[Crop, Points]]:
    """Mouth squares and points of the faces that count, largest first; background and nonsense left out."""
    squares: list[tuple[Crop, Points]] = []
    for face in faces:
        try:
            squares.append((crop_from_landmarks(face.landmarks), face.landmarks))
        except ValueError:  # upside down or without extent
            continue
    squares.sort(key=lambda square: -square[0].size)
    return [square for square in squares if square[0].size >= BACKGROUND * squares[0][0].size]


def _watch(
    video: Path, tracker: FacesTracker, notes: "_Notes", max_side: int, tell: Tell | None, expected: int
) -> str | None:
    """Fills `notes`; the message where the file breaks off after its first picture."""
    try:
        for number, frame in enumerate(islice(read_rgb(video, max_side), MAX_SECONDS * FRAME_RATE)):
            notes.add(frame, tracker.track_all(frame, number * 1000 // FRAME_RATE))
            if tell is not None:
                tell(STEP, number + 1, max(expected, number + 1) if expected else 0)
    except BadMediaError as error:
        if not len(notes):
            raise
        return str(error)
    return None


class _Notes:
    """What is kept of each picture while the film goes by."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._landmarks: list[Points | None] = []
        self._rows: list[tuple[float, ...]] = []
        self._faces: list[int] = []
        self._thumbs: list[Picture] = []
        self._patches: list[Picture] = []
        self._last: Crop | None = None

    def __len__(self) -> int:
        return len(self._landmarks)

    def add(self, frame: Picture, faces: Sequence[Face]) -> None:
        """One picture and all faces in it."""
        counted = counted_faces(faces)
        row = (math.nan,) * 7
        points: Points | None = None
        if counted:
            crop, points = self._presenter(counted)
            self._last = crop
            jaw = next(face.blendshapes.get("jawOpen", 0.0) for face in faces if face.landmarks is points)
            pose, seen = head_pose(points), clarity(frame, crop)
            shade = _shade(frame, points, crop)
            row = (jaw, pose.yaw, pose.pitch, seen.sharpness, seen.light, seen.contrast, shade)
            self._patches.append(mouth_patch(frame, crop))
        self._size = (frame.shape[1], frame.shape[0])
        self._landmarks.append(points)
        self._rows.append(row)
        self._faces.append(len(counted))
        grey = cv2.resize(
            cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (THUMB, THUMB), interpolation=cv2.INTER_AREA
        )
        self._thumbs.append(np.asarray(grey, np.uint8))

    def survey(self, source: Source, loudness: Floats, voiced: Flags, damage: str | None) -> Survey:
        """All notes together."""
        table = np.array(self._rows, np.float32)
        jaw_open, yaw, pitch, sharpness, brightness, contrast, shade = table.T
        seen = np.flatnonzero(~np.isnan(yaw))
        hidden = np.full(len(table), np.nan, np.float32)
        if seen.size:
            hidden[seen] = covered(np.stack(self._patches), np.stack([yaw, pitch], axis=1)[seen])
        return Survey(
            source=source,
            size=self._size,
            landmarks=self._landmarks,
            jaw_open=jaw_open,
            yaw=yaw,
            pitch=pitch,
            faces=np.array(self._faces, np.uint8),
            sharpness=sharpness,
            brightness=brightness,
            contrast=contrast,
            shade=shade,
            covered=hidden,
            thumbs=np.stack(self._thumbs),
            loudness=loudness,
            voiced=voiced,
            damage=damage,
        )

    def _presenter(self, counted: list[tuple[Crop, Points]]) -> tuple[Crop, Points]:
        """The face of the picture before where it is still there, else the largest."""
        last = self._last
        if last is not None:
            near = min(counted, key=lambda pair: math.hypot(pair[0].cx - last.cx, pair[0].cy - last.cy))
            if math.hypot(near[0].cx - last.cx, near[0].cy - last.cy) < last.size / 2:
                return near
        return counted[0]


def _shade(frame: Picture, points: Points, crop: Crop) -> float:
    """How much brighter one cheek is than the other, at least 1."""
    means = [
        float(extract(frame, Crop(float(x), float(y), _CHEEK * crop.size, crop.angle), 8).mean())
        for x, y in points[list(_CHEEKS)]
    ]
    return (max(means) + 1) / (min(means) + 1)


def _listen(video: Path, source: Source, ticks: int) -> tuple[Floats, Flags]:
    """Loudness and voice of each tick; a track that cannot be read counts as none."""
    loudness = np.full(ticks, np.nan, np.float32)
    silent = np.zeros(ticks, np.bool_)
    if not source.sound:
        return loudness, silent
    file = io.BytesIO()
    try:
        write_sound(video, file, source.start_s, ticks / FRAME_RATE)
    except BadMediaError:
        return loudness, silent
    samples = from_pcm16(np.frombuffer(file.getbuffer(), np.int16))[: ticks * SAMPLES_PER_TICK]
    for tick in range(samples.size // SAMPLES_PER_TICK):
        loudness[tick] = level_db(samples[tick * SAMPLES_PER_TICK : (tick + 1) * SAMPLES_PER_TICK])
    return loudness, voiced_ticks([samples], ticks)
