"""How well the discriminator finds offsets: clips whose sound is moved on purpose, two seconds at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.anchor.crop import Picture, crop_from_landmarks, extract, smooth_crops
from engine.anchor.tracker import FaceTracker
from engine.errors import BadMediaError, NoFaceError
from engine.picture.video import read_rgb
from engine.speech.audio import SAMPLES_PER_TICK, Samples, load_speech
from training.clip_data import cut_clip
from training.clips import Clip, decode, span
from training.sync_score import WINDOW, DiscriminatorJudge, SyncFinding
from training.variation import Variation

Progress = Callable[[int, int], None]

_FARTHEST = 10  # offsets beyond this would leave too little sound to compare with inside two seconds
_HOP = 5


@dataclass(frozen=True, slots=True)
class OffsetScore:
    """windows: two-second windows tried; within_one: share whose offset was found within one tick; exact:
    share found exactly; mean_error: mean distance in ticks; wrong_sound: share within one tick when the sound
    is another clip's, which must be near chance: else something but sound and mouth gives the offset away.
    """

    windows: int
    within_one: float
    exact: float
    mean_error: float
    wrong_sound: float


def judge_offsets(
    judge: DiscriminatorJudge, clips: Sequence[Clip], *, seed: int = 0, progress: Progress | None = None
) -> OffsetScore:
    """Moves the sound of every two-second window of `clips` by a random offset and asks for it.

    Raises BadMediaError when no clip is that long, or there is only one.
    """
    if len(clips) < 2:
        raise BadMediaError("One clip is too few: the control needs the sound of another one; give two.")
    random = np.random.default_rng(seed)
    errors: list[int] = []
    wrong: list[int] = []
    for number, clip in enumerate(clips):
        pictures = clip_pictures(clip, judge.size)
        for start in range(0, clip.card.frames - WINDOW + 1, _HOP):
            true = int(random.integers(-_FARTHEST, _FARTHEST + 1))
            # Sound tick start + i + true belongs to picture start + i: begin the sound `true` ticks early.
            seen = pictures[start : start + WINDOW]
            for sound, distances in ((clip, errors), (clips[number - 1], wrong)):
                samples = span(sound.samples, sound.card.lead + start - true, WINDOW)
                distances.append(abs(judge.judge(seen, samples).offset - true))
        if progress:
            progress(number + 1, len(clips))
    if not errors:
        raise BadMediaError(f"All clips are shorter than two seconds ({WINDOW} pictures); give longer ones.")
    return score_errors(errors, wrong)


def score_errors(errors: Sequence[int], wrong: Sequence[int]) -> OffsetScore:
    """The score of distances in ticks, with the right sound and with wrong sound."""
    distance = np.array(errors)
    return OffsetScore(
        windows=len(distance),
        within_one=round(float(np.mean(distance <= 1)), 3),
        exact=round(float(np.mean(distance == 0)), 3),
        mean_error=round(float(distance.mean()), 2),
        wrong_sound=round(float(np.mean(np.array(wrong) <= 1)), 3),
    )


def clip_pictures(clip: Clip, size: int) -> list[Picture]:
    """The clip's pictures as the networks see them, unvaried."""
    plain = Variation()
    return [cut_clip(decode(picture), clip.card.margin, size, plain, None) for picture in clip.pictures]


def video_pictures(video: Path, tracker: FaceTracker, size: int) -> tuple[list[Picture], Samples]:
    """House crops of a talking video, one a tick, and its sound. Raises NoFaceError, BadMediaError."""
    frames, crops = [], []
    for index, frame in enumerate(read_rgb(video)):
        face = tracker.track(frame, 40 * index)
        if face is not None:
            crops.append(crop_from_landmarks(face.landmarks))
        elif crops:
            crops.append(crops[-1])
        if crops:
            frames.append(frame)
    if not crops:
        raise NoFaceError(f"No face was found in {video.name}; give a video of one person speaking.")
    pictures = [extract(frame, crop, size) for frame, crop in zip(frames, smooth_crops(crops), strict=True)]
    late = (index + 1 - len(frames)) * SAMPLES_PER_TICK
    return pictures, load_speech(video)[late:]


def judge_video(judge: DiscriminatorJudge, video: Path, tracker: FaceTracker) -> SyncFinding:
    """Offset and confidence of a talking video. Raises NoFaceError, BadMediaError."""
    return judge.judge(*video_pictures(video, tracker, judge.size))
