"""Judges a presenter's mouth on speakers it never heard, against the studio's true pictures.

The presenter speaks through the whole live core, on its own idle loop; the studio renders the same
character at the same poses saying the same words. Two checks tell a mouth that listens from one that
guesses: digital silence must leave it closed, and another sentence must not look like this one.
"""

import json
import wave
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Picture
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.package import Avatar
from engine.errors import BadMediaError
from engine.evaluate import MouthScore, apertures, compare
from engine.mouth.runtime import MouthRuntime
from engine.picture.video import read_rgb
from engine.render import render
from engine.speech.audio import SAMPLE_RATE, Samples, load_speech, to_pcm16
from training.split import is_held_out_speaker
from training.studio.shots import render_speech

Progress = Callable[[int, int], None]
_SHEET_ROWS = 6


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
) -> Verdict:
    """Renders truth (kept in `output`, resumable) and live pictures of each recording, and compares them.

    `seed` is that of the avatar's anchor, so that poses agree. Writes report.json and sheet.jpg.
    """
    files = [file for file in speech if is_held_out_speaker(file)]
    if len(files) < 2:
        raise BadMediaError(
            "There are fewer than two held-out speakers in this folder; give more recordings."
        )
    cuts = [_cut(file, output / file.stem, seconds) for file in files]
    for cut in cuts:
        render_speech(
            character,
            cut,
            cut.parent,
            motion="anchor",
            twins=False,
            seed=seed,
            workers=workers,
            progress=progress,
        )
    scores = {}
    for cut in cuts:
        render(avatar, cut, cut.parent / "live.mp4", mouth=mouth)
        scores[cut.parent.name] = compare(cut.parent / "live.mp4", cut.parent / "video.mp4", MediaPipeTracker)
    swapped = [
        compare(this.parent / "live.mp4", other.parent / "video.mp4", MediaPipeTracker).jaw_r
        for this, other in zip(cuts, [*cuts[1:], cuts[0]], strict=True)
    ]
    silence = write_wave(output / "silence.wav", np.zeros(2 * SAMPLE_RATE, np.float32))
    render(avatar, silence, output / "silence.mp4", mouth=mouth)
    quiet = apertures(output / "silence.mp4", MediaPipeTracker)
    idle = apertures(avatar.folder / "anchor.mp4", MediaPipeTracker)
    verdict = Verdict(scores, float(np.mean(swapped)), float(np.max(quiet)), float(np.max(idle)))
    report = {"summary": verdict.summary(), "recordings": {k: asdict(v) for k, v in scores.items()}}
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    write_sheet([cut.parent for cut in cuts[:_SHEET_ROWS]], output / "sheet.jpg")
    return verdict


def write_wave(path: Path, samples: Samples) -> Path:
    """Writes float samples in [-1, 1] at 16 kHz as a 16-bit WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(to_pcm16(samples).tobytes())
    return path


def write_sheet(folders: Sequence[Path], output: Path, *, every: int = 9, columns: int = 8) -> None:
    """A contact sheet: for each folder a row of true pictures above a row of live ones, faces only."""
    rows = []
    for folder in folders:
        for name in ("video.mp4", "live.mp4"):
            pictures = list(read_rgb(folder / name))[10::every][:columns]
            rows.append(np.hstack([_face(picture) for picture in pictures]))
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    cv2.imwrite(str(output), np.vstack(padded)[:, :, ::-1])


def _face(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    part = picture[round(0.1 * height) : round(0.62 * height), round(0.24 * width) : round(0.76 * width)]
    return np.asarray(cv2.resize(part, (240, 240), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _cut(file: Path, folder: Path, seconds: float) -> Path:
    return write_wave(folder / "speech.wav", load_speech(file)[: round(seconds * SAMPLE_RATE)])
