"""The training set: pairs of pictures, idle and speaking, at the same pose.

The speaking picture shows a moment of real speech (or, for a share of the pairs, a mouth drawn at
random from the code, so that the picture side sees shapes that speech visits rarely). The idle
picture is what the live engine has in hand, so nothing about the mouth can leak into the input.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.errors import BadMediaError
from engine.paths import cache_folder
from engine.speech.audio import SAMPLES_PER_TICK, load_speech
from training.studio.performance import Floats, Performance, perform
from training.studio.phones import PhoneAligner, align_cached
from training.studio.renderer import Look
from training.studio.shots import Job, Progress, render_jobs
from training.studio.visemes import VISEMES, sample_curves, viseme_curves

CLOSE_UP = Look(320, 320, fov=20.0, view=(0.0, 0.06, 0.78), aim=(0.0, 0.055))
_RANDOM_SHARE = 0.2
_SHOTS = 2


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording and the mouth that goes with it, one code a picture."""

    path: Path
    mouth: Floats


def read_corpus(files: Sequence[Path], progress: Progress | None = None) -> list[Utterance]:
    """Aligns every recording (cached); those that could not be aligned are left out."""
    aligner = PhoneAligner()
    corpus = []
    for count, path in enumerate(files):
        samples = load_speech(path)
        phones = align_cached(samples, cache_folder() / "phones", aligner)
        frames = samples.size // SAMPLES_PER_TICK
        if phones:
            corpus.append(Utterance(path, sample_curves(viseme_curves(phones, samples), frames)))
        if progress:
            progress(count + 1, len(files))
    return corpus


def render_pairs(
    character: Path,
    corpus: Sequence[Utterance],
    output: Path,
    *,
    pairs: int,
    seed: int,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Renders `pairs` idle and speaking pictures of one character into `output`/NAME (resumable)."""
    if not corpus:
        raise BadMediaError(
            "None of the speech could be aligned; give English recordings of whole sentences."
        )
    folder = output / character.stem
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, sum(character.stem.encode())])
    records = []
    for shot in range(_SHOTS):
        take, moments = _draw_take(corpus, pairs // _SHOTS, random)
        names = [f"{shot}{i:05d}" for i in range(len(take))]
        jobs: list[Job] = []
        for i, name in enumerate(names):
            jobs.append((folder / f"{name}-idle.jpg", take.spec(i, speaking=False)))
            jobs.append((folder / f"{name}-speaking.jpg", take.spec(i)))
        render_jobs(character, random_look(random, CLOSE_UP), jobs, workers=workers, progress=progress)
        records += [
            {
                "name": name,
                "speech": moment[0],
                "tick": moment[1],
                "code": np.round(take.mouth[i], 4).tolist(),
            }
            for i, (name, moment) in enumerate(zip(names, moments, strict=True))
        ]
    partial = folder / "pairs.part"
    partial.write_text(json.dumps({"visemes": VISEMES, "pairs": records}))
    partial.replace(folder / "pairs.json")


def _draw_take(
    corpus: Sequence[Utterance], count: int, random: np.random.Generator
) -> tuple[Performance, list[tuple[str | None, int | None]]]:
    codes, moments = [], list[tuple[str | None, int | None]]()
    for _ in range(count):
        if random.random() < _RANDOM_SHARE:
            codes.append(_random_code(random))
            moments.append((None, None))
            continue
        utterance = corpus[int(random.integers(len(corpus)))]
        tick = int(random.integers(len(utterance.mouth)))
        codes.append(utterance.mouth[tick])
        moments.append((utterance.path.name, tick))
    long_take = perform(
        np.zeros((count * 40, len(VISEMES)), np.float32), int(random.integers(2**31)), sway=1.6
    )
    # Moments far apart: each pair has a pose of its own.
    return (
        Performance(
            np.array(codes, np.float32), long_take.head[::40], long_take.blink[::40], long_take.breath[::40]
        ),
        moments,
    )


def _random_code(random: np.random.Generator) -> Floats:
    code = np.zeros(len(VISEMES), np.float32)
    chosen = random.choice(len(VISEMES), size=random.integers(1, 4), replace=False)
    code[chosen] = random.dirichlet(np.ones(len(chosen))) * random.uniform(0.2, 1.1)
    return np.clip(code, 0, 1)


def random_look(random: np.random.Generator, look: Look) -> Look:
    """`look` with chance's zoom, backdrop and light."""

    def tint(low: float, high: float) -> str:
        return "#" + "".join(f"{int(255 * random.uniform(low, high)):02x}" for _ in range(3))

    side = random.choice([-1.0, 1.0])
    return replace(
        look,
        fov=look.fov * float(random.uniform(0.925, 1.1)),
        backdrop={
            "top": tint(0.1, 0.6),
            "bottom": tint(0.05, 0.35),
            "glow": tint(0.5, 1.0),
            "seed": int(random.integers(999)),
        },
        light={
            "ambient": float(random.uniform(1.0, 2.0)),
            "lamps": [
                [
                    tint(0.85, 1.0),
                    float(random.uniform(1.3, 2.4)),
                    side * float(random.uniform(0.3, 1.3)),
                    0.9,
                    1.6,
                ],
                [tint(0.8, 1.0), float(random.uniform(0.4, 1.1)), -side * 1.2, 0.4, 1.0],
            ],
        },
    )
