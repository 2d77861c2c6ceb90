"""Judges a presenter's mouth on speakers it never heard, against the studio's true pictures.

The presenter speaks through the whole live core, on its own idle loop; the studio renders the same
character at the same poses saying the same words. Two checks tell a mouth that listens from one that
guesses: digital silence must leave it closed, and another sentence must not look like this one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.package import Avatar
from engine.anchor.walk import AnchorWalk
from engine.errors import BadMediaError
from engine.evaluate.columns import Place
from engine.evaluate.lips import compare_lips
from engine.evaluate.mouth import MouthScore, apertures, compare_tracks
from engine.evaluate.track import NewTracker, track
from engine.mouth.runtime import MouthRuntime
from engine.picture.video import VideoWriter
from engine.render import render
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, load_speech
from training.clips import span, write_wave
from training.report_media import write_sheet
from training.split import is_held_out_speaker
from training.studio.shots import render_speech

Progress = Callable[[int, int], None]

SILENCE_S = 2.0
"""Seconds of digital silence that a presenter is given."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The videos of one speech: the true one, the generated one, the untouched anchor if there is one.

    `place` says where the mouth was pasted, None where only a face tracker can tell.
    """

    name: str
    truth: Path
    generated: Path
    anchor: Path | None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Scores by recording, those of each recording's lips against the next one's truth, and silence.

    `silence_aperture`: largest inner-lip distance over face height in two seconds of silence; the same
    of the untouched anchor is `idle_aperture`.
    """

    scores: dict[str, MouthScore]
    swapped_jaw_r: float
    silence_aperture: float
    idle_aperture: float

    def summary(self) -> dict[str, float]:
        """Means over the recordings and the worst jaw correlation."""
        rows = [asdict(score) for score in self.scores.values()]
        means = {key: round(float(np.nanmean([row[key] for row in rows])), 3) for key in rows[0]}
        worst = round(min(float(row["jaw_r"]) for row in rows), 3)
        return {
            **means,
            "jaw_r_worst": worst,
            "swapped_jaw_r": round(self.swapped_jaw_r, 3),
            "silence_aperture": round(self.silence_aperture, 4),
            "idle_aperture": round(self.idle_aperture, 4),
        }


def judge(
    avatar: Avatar,
    character: Path,
    speech: Sequence[Path],
    output: Path,
    *,
    mouth: MouthRuntime,
    seed: int,
    seconds: float = 3.2,
    workers: int = 2,
    progress: Progress | None = None,
    new_tracker: NewTracker = MediaPipeTracker,
) -> Verdict:
    """Renders truth (kept in `output`, resumable) and live pictures of each recording, and compares them.

    `seed` is that of the avatar's anchor, so that poses agree. Writes report.json and sheet.jpg.
    """
    recordings = present(
        avatar, character, speech, output,
        mouth=mouth, seed=seed, seconds=seconds, workers=workers, progress=progress,
    )  # fmt: skip
    tracks = [(track(one.generated, new_tracker), track(one.truth, new_tracker)) for one in recordings]
    scores = {
        one.name: compare_tracks(generated, truth)
        for one, (generated, truth) in zip(recordings, tracks, strict=True)
    }
    swapped = [
        compare_lips(this, other).jaw_r
        for (this, _), (_, other) in zip(tracks, [*tracks[1:], tracks[0]], strict=True)
    ]
    quiet, idle = silence(avatar, output, mouth, new_tracker)
    verdict = Verdict(scores, float(np.mean(swapped)), quiet, idle)
    report = {"summary": verdict.summary(), "recordings": {k: asdict(v) for k, v in scores.items()}}
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    write_sheet(
        [[one.truth, one.generated] for one in recordings],
        [truth.crops() for _, truth in tracks],
        output / "sheet.jpg",
    )
    return verdict


def present(
    avatar: Avatar,
    character: Path,
    speech: Sequence[Path],
    output: Path,
    *,
    mouth: MouthRuntime,
    seed: int,
    seconds: float = 3.2,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Recording]:
    """The true, live and idle video of the start of each held-out recording in `speech`.

    Below `output`, a folder each; true pictures that are there already are not rendered again. Raises
    BadMediaError for fewer than two held-out speakers.
    """
    files = [file for file in speech if is_held_out_speaker(file)]
    if len(files) < 2:
        raise BadMediaError(
            "There are fewer than two held-out speakers in this folder; give more recordings."
        )
    recordings = []
    for done, file in enumerate(files):
        folder = output / file.stem
        samples = load_speech(file)[: round(seconds * SAMPLE_RATE)]
        cut = write_wave(folder / "speech.wav", samples)
        render_speech(
            character, cut, folder,
            motion="anchor", twins=False, seed=seed, workers=workers,
            progress=_part(progress, done, len(files)),
        )  # fmt: skip
        render(avatar, cut, folder / "live.mp4", mouth=mouth, label=None)
        walk = write_idle(avatar, samples, folder / "anchor.mp4")
        place = Place([avatar.card.crops[frame] for frame in walk], avatar.mask(0))
        recordings.append(
            Recording(file.stem, folder / "video.mp4", folder / "live.mp4", folder / "anchor.mp4", place)
        )
    return recordings


def paired(
    truths: Sequence[Path], generated: Sequence[Path], anchors: Sequence[Path] = ()
) -> list[Recording]:
    """Recordings of videos that exist already, named after the true ones.

    Raises BadMediaError when the lists do not go together.
    """
    if not truths or len(generated) != len(truths) or len(anchors) not in (0, len(truths)):
        raise BadMediaError(
            f"There are {len(truths)} true, {len(generated)} generated and {len(anchors)} untouched videos; "
            "give one generated video for each true one, and untouched ones for all or none."
        )
    return [
        Recording(
            truth.stem if len({path.stem for path in truths}) == len(truths) else f"{number} {truth.stem}",
            truth,
            generated[number],
            anchors[number] if anchors else None,
        )
        for number, truth in enumerate(truths)
    ]


def write_idle(avatar: Avatar, samples: Samples, output: Path) -> list[int]:
    """The untouched idle loop with the sound `samples`, as long as it; returns its anchor frame numbers."""
    walk = AnchorWalk(avatar.card.idle.frames, avatar.card.idle.loop)
    frames = [next(walk) for _ in range(-(-samples.size // SAMPLES_PER_TICK))]
    with VideoWriter(output, avatar.size, sound=True) as video:
        for tick, frame in enumerate(frames):
            video.write(avatar.frame(frame))
            video.write_sound(span(samples, tick, 1))
    return frames


def silence(
    avatar: Avatar, output: Path, mouth: MouthRuntime, new_tracker: NewTracker
) -> tuple[float, float]:
    """The largest aperture of the presenter given silence, and of its idle loop; keeps silence.mp4."""
    quiet = write_wave(output / "silence.wav", np.zeros(round(SILENCE_S * SAMPLE_RATE), np.float32))
    render(avatar, quiet, output / "silence.mp4", mouth=mouth, label=None)
    opened = apertures(output / "silence.mp4", new_tracker)
    return max(opened), max(apertures(avatar.folder / "anchor.mp4", new_tracker))


def _part(progress: Progress | None, done: int, parts: int) -> Progress | None:
    """Progress of one of several equal parts, counted in their pictures together."""
    if progress is None:
        return None
    return lambda count, total: progress(done * total + count, parts * total)
