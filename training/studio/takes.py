"""Rendered clips: moments of speech, several pictures in a row, with the idle picture behind them.

The sync discriminator judges five pictures in a row; so does the generator's sync loss. A take holds one
pose for a moment of speech, so that a single idle picture is the input of all its pictures.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.anchor.crop import Crop, Points, crop_from_landmarks
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.errors import BadMediaError
from engine.speech.audio import FRAME_RATE, load_speech
from training.clips import CARD, MARGIN, ClipCard, cut, decode, lip_centre, padded, span, write_clip
from training.studio.dataset import Utterance, random_look
from training.studio.performance import Performance, perform
from training.studio.renderer import Look
from training.studio.shots import Job, Progress, render_jobs, wall_of
from training.studio.visemes import VISEMES

LEAD = 20
"""Ticks of sound kept before and after the pictures: room for wrong offsets to learn from."""

CHEST_UP = Look(320, 320, fov=21.0, view=(0.0, 0.02, 0.78), aim=(0.0, -0.012))
PRESENTER = Look(384, 384, fov=12.94, view=(0.0, 0.03, 1.32), aim=(0.0, -0.012))
"""The face as the anchors show it (shots.PORTRAIT): their camera, light, wall and scale, less of the room."""

_TAKES_A_SHOT = 12
_STORED = 256


def render_takes(
    character: Path,
    corpus: Sequence[Utterance],
    output: Path,
    *,
    takes: int,
    frames: int = 10,
    seed: int,
    presenter: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Renders `takes` clips of `frames` pictures of one character into `output`/NAME (resumable).

    With `presenter` as an anchor shows them, else with camera, light and wall drawn at random.

    Raises BadMediaError when no recording is long enough.
    """
    corpus = [utterance for utterance in corpus if len(utterance.mouth) > frames]
    if not corpus:
        raise BadMediaError(
            "None of the speech could be aligned; give English recordings of whole sentences."
        )
    random = np.random.default_rng([seed, sum(character.stem.encode())])
    poses = perform(np.zeros((takes * 40, len(VISEMES)), np.float32), int(random.integers(2**31)), sway=1.6)

    def next_look() -> Look:
        return wall_of(character, PRESENTER) if presenter else random_look(random, CHEST_UP)

    look = next_look()
    jobs: list[Job] = []
    shots: list[tuple[Path, Utterance, int]] = []
    for take in range(takes):
        if take and take % _TAKES_A_SHOT == 0:
            _render(character, look, jobs, shots, workers, progress)
            jobs, shots, look = [], [], next_look()
        utterance = corpus[int(random.integers(len(corpus)))]
        start = int(random.integers(len(utterance.mouth) - frames))
        folder = output / character.stem / f"{take:04d}"
        if (folder / CARD).is_file():
            continue
        performance = _still(poses, take * 40, utterance.mouth[start : start + frames])
        scratch = folder / "render"
        jobs.append((scratch / "idle.jpg", performance.spec(0, speaking=False)))
        jobs += [(scratch / f"{i:06d}.jpg", performance.spec(i)) for i in range(frames)]
        shots.append((folder, utterance, start))
    _render(character, look, jobs, shots, workers, progress)


def _still(poses: Performance, at: int, mouth: np.ndarray) -> Performance:
    """The mouth on the pose at `at`, held."""
    held = np.full(len(mouth), at)
    return Performance(mouth, poses.head[held], poses.blink[held], poses.breath[held])


def _render(
    character: Path,
    look: Look,
    jobs: Sequence[Job],
    shots: Sequence[tuple[Path, Utterance, int]],
    workers: int,
    progress: Progress | None,
) -> None:
    if not jobs:
        return
    render_jobs(character, look, jobs, workers=workers, progress=progress)
    with MediaPipeTracker() as tracker:
        for index, (folder, utterance, start) in enumerate(shots):
            face = tracker.track(decode((folder / "render" / "idle.jpg").read_bytes()), 1000 * index)
            if face is not None:
                _store(folder, utterance, start, face.landmarks)


def _store(folder: Path, utterance: Utterance, start: int, landmarks: Points) -> None:
    scratch = folder / "render"
    files = sorted(scratch.glob("0*.jpg"))
    crop: Crop = padded(crop_from_landmarks(landmarks))
    lips = lip_centre(landmarks, crop)
    samples = span(load_speech(utterance.path), start - LEAD, len(files) + 2 * LEAD)
    card = ClipCard(
        person=folder.parent.name,
        source=utterance.path.name,
        start_s=start / FRAME_RATE,
        frames=len(files),
        size=_STORED,
        margin=MARGIN,
        lead=LEAD,
        lips=[lips] * len(files),
        idle=True,
        code=np.round(utterance.mouth[start : start + len(files)].astype(np.float64), 4).tolist(),
    )
    pictures = [cut(decode(file.read_bytes()), crop, _STORED) for file in files]
    idle = cut(decode((scratch / "idle.jpg").read_bytes()), crop, _STORED)
    write_clip(folder, card, pictures, samples, idle)
    for file in (*files, scratch / "idle.jpg"):
        file.unlink()
    scratch.rmdir()
