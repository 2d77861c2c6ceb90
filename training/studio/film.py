"""Footage of a character as a streamer would film themselves: some silence, then sentence after sentence.

What `koubo avatar train` and `koubo avatar create` are tried on, where the truth is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import BadMediaError
from engine.paths import cache_folder
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, load_speech
from training.studio.phones import Phone, align_cached
from training.studio.renderer import Look
from training.studio.shots import Progress, render_take, take_of, wall_of

FILM = Look(512, 512, fov=17.19, view=(0.0, 0.03, 1.32), aim=(0.0, -0.02))
"""The presenter's camera (shots.PORTRAIT) and its scale, with less of the room: as sharp, and faster."""

_PAUSE_S = 0.6  # between two sentences
_PEAK = 0.5


@dataclass(frozen=True, slots=True)
class Script:
    """What is said in a film: 16 kHz sound and its phones."""

    samples: Samples
    phones: list[Phone]


def write_script(speech: Sequence[Path], silence_s: float) -> Script:
    """The recordings one after the other, equally loud, after `silence_s` seconds of silence.

    Raises BadMediaError where a recording holds no English speech.
    """
    parts = [_silence(silence_s)]
    phones: list[Phone] = []
    for path in speech:
        samples = load_speech(path)
        found = align_cached(samples, cache_folder() / "phones")
        if not found:
            raise BadMediaError(
                f"No English speech was found in {path.name}; give a recording of clear sentences."
            )
        start = sum(part.size for part in parts) / SAMPLE_RATE
        phones += [Phone(phone.label, start + phone.start, start + phone.end) for phone in found]
        parts += [samples * np.float32(_PEAK / max(float(np.abs(samples).max()), 1e-3)), _silence(_PAUSE_S)]
    return Script(np.concatenate(parts), phones)


def render_film(
    character: Path,
    speech: Sequence[Path],
    output: Path,
    *,
    silence_s: float = 4.0,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Renders `character` saying recordings into `output`: frames/, truth.json, video.mp4 (resumable)."""
    script = write_script(speech, silence_s)
    take = take_of(script.samples, script.phones, seed)
    render_take(
        character, take, script.samples, script.phones, output,
        look=wall_of(character, FILM), workers=workers, progress=progress,
    )  # fmt: skip


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE / SAMPLES_PER_TICK) * SAMPLES_PER_TICK, np.float32)
