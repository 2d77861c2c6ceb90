"""Takes on disk: a talking video with its truth, and a character's idle anchor loop.

Frames are written one by one and never rewritten, so that a killed job goes on where it stopped.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from engine.errors import BadMediaError
from engine.paths import cache_folder
from engine.speech import espeak
from engine.speech.audio import FRAME_RATE, SAMPLES_PER_TICK, Samples, load_speech
from training.studio.performance import Performance, idle_loop, perform
from training.studio.phones import Phone, align_cached
from training.studio.renderer import FrameSpec, Look, stage
from training.studio.video import write_video
from training.studio.visemes import VISEMES, sample_curves, viseme_curves

_BATCH = 8

ANCHOR_FRAMES = 275
"""Length of an anchor loop unless asked otherwise: 11 s."""

Motion = Literal["speaking", "anchor"]
Progress = Callable[[int, int], None]
Job = tuple[Path, FrameSpec]

PORTRAIT = Look(720, 720, fov=24.0, view=(0.0, 0.03, 1.32), aim=(0.0, -0.035))
"""Head and shoulders, as a presenter is usually framed."""

_WALLS: tuple[dict[str, str | int], ...] = (
    {"top": "#46596b", "bottom": "#1f2a35", "glow": "#ffcf9e", "seed": 3},
    {"top": "#5a5348", "bottom": "#26221d", "glow": "#ffd9a8", "seed": 7},
    {"top": "#3f5550", "bottom": "#1a2624", "glow": "#bfe8ff", "seed": 11},
)


def wall_of(character: Path, look: Look) -> Look:
    """`look` before a wall that stays the same for this character."""
    return replace(look, backdrop=_WALLS[sum(character.stem.encode()) % len(_WALLS)])


def take_of(samples: Samples, phones: Sequence[Phone], seed: int) -> Performance:
    """The performance of recorded speech, one picture for each begun 40 ms."""
    frames = -(-samples.size // SAMPLES_PER_TICK)
    return perform(sample_curves(viseme_curves(phones, samples), frames), seed)


def render_speech(
    character: Path,
    speech: Path,
    output: Path,
    *,
    motion: Motion = "speaking",
    twins: bool = True,
    look: Look = PORTRAIT,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Renders `character` saying an English recording into `output`: frames/, idle/, truth.json, video.mp4.

    With `twins`, `idle/` holds each picture's twin at the same pose with the mouth at rest. With
    motion="anchor" the head moves as in `render_anchor` of the same seed: pictures to hold against a live
    render.
    """
    samples = load_speech(speech)
    phones = align_cached(samples, cache_folder() / "phones")
    if not phones:
        raise BadMediaError(
            f"No English speech was found in {speech.name}; give a recording of clear sentences."
        )
    _render_take(character, samples, phones, output, motion, twins, look, seed, workers, progress)


def render_text(
    character: Path,
    text: str,
    voice: str,
    output: Path,
    *,
    motion: Motion = "speaking",
    look: Look = PORTRAIT,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """As `render_speech`, saying `text` in a voice of espeak-ng, whose phonemes are known exactly."""
    spoken = espeak.speak(text, voice)
    if not any(phoneme.label for phoneme in spoken.phonemes):
        raise BadMediaError("There is nothing to say in this text; give words that the voice can read.")
    phones = [Phone(phoneme.label, phoneme.start, phoneme.end) for phoneme in spoken.phonemes]
    _render_take(character, spoken.samples, phones, output, motion, True, look, seed, workers, progress)


def _render_take(
    character: Path,
    samples: Samples,
    phones: Sequence[Phone],
    output: Path,
    motion: Motion,
    twins: bool,
    look: Look,
    seed: int,
    workers: int,
    progress: Progress | None,
) -> None:
    take = take_of(samples, phones, seed)
    if motion == "anchor":
        take = in_place_of(take, idle_loop(ANCHOR_FRAMES, seed))
    render_take(
        character, take, samples, phones, output,
        look=wall_of(character, look), twins=twins, workers=workers, progress=progress,
    )  # fmt: skip


def render_take(
    character: Path,
    take: Performance,
    samples: Samples,
    phones: Sequence[Phone],
    output: Path,
    *,
    look: Look,
    twins: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Renders a performance with its sound: frames/ (`twins`: idle/), truth.json, video.mp4."""
    names = [_name(i) for i in range(len(take))]
    jobs = [(output / "frames" / name, take.spec(i)) for i, name in enumerate(names)]
    if twins:
        jobs += [(output / "idle" / name, take.spec(i, speaking=False)) for i, name in enumerate(names)]
    render_jobs(character, look, jobs, workers=workers, progress=progress)
    _write_truth(output / "truth.json", take, phones)
    write_video([output / "frames" / name for name in names], samples, output / "video.mp4")


def in_place_of(take: Performance, loop: Performance) -> Performance:
    """The mouth of `take` on the head of `loop`, repeated as long as needed."""
    at = np.arange(len(take)) % len(loop)
    return Performance(take.mouth, loop.head[at], loop.blink[at], loop.breath[at])


def render_anchor(
    character: Path,
    output: Path,
    *,
    seconds: float = ANCHOR_FRAMES / FRAME_RATE,
    look: Look = PORTRAIT,
    matte: bool = False,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Renders the idle loop of `character` as the video file `output`, frames kept beside it.

    With `matte`, the loop's matte instead (`engine.anchor.matte`): the same motion, seconds and seed.
    """
    take = idle_loop(round(seconds * FRAME_RATE), seed)
    folder = output.with_suffix("")
    jobs = [
        ((folder / _name(i)).with_suffix(".png" if matte else ".jpg"), take.spec(i)) for i in range(len(take))
    ]
    look = replace(wall_of(character, look), matte=matte)
    render_jobs(character, look, jobs, workers=workers, progress=progress)
    write_video([path for path, _ in jobs], None, output)


def render_jobs(
    character: Path, look: Look, jobs: Sequence[Job], *, workers: int, progress: Progress | None = None
) -> None:
    """Renders what is not on disk yet, several browsers side by side."""
    todo = [job for job in jobs if not job[0].is_file()]
    tally = _Tally(len(jobs) - len(todo), len(jobs), progress)
    shares = [share for share in (todo[k::workers] for k in range(workers)) if share]
    with ThreadPoolExecutor(max_workers=max(1, len(shares))) as pool:
        streams = [pool.submit(_render_share, character, look, share, tally) for share in shares]
        for stream in streams:
            stream.result()


class _Tally:
    """Counts finished pictures of several browsers for one progress bar."""

    def __init__(self, done: int, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = done, total, progress
        self._lock = threading.Lock()
        self.add(0)

    def add(self, more: int) -> None:
        with self._lock:
            self._done += more
            if self._progress:
                self._progress(self._done, self._total)


def _render_share(character: Path, look: Look, jobs: Sequence[Job], tally: _Tally) -> None:
    with stage(character, look) as page:
        for batch in _batches(jobs):
            pictures = page.render([spec for _, spec in batch])
            for (path, _), picture in zip(batch, pictures, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".part")
                partial.write_bytes(picture)
                partial.replace(path)
            tally.add(len(batch))


def _batches(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    for start in range(0, len(jobs), _BATCH):
        yield jobs[start : start + _BATCH]


def _name(index: int) -> str:
    return f"{index:06d}.jpg"


def _write_truth(path: Path, take: Performance, phones: Sequence[Phone]) -> None:
    truth = {
        "fps": FRAME_RATE,
        "visemes": {name: np.round(take.mouth[:, c], 4).tolist() for c, name in enumerate(VISEMES)},
        "head_pose": {
            name: np.round(take.head[:, c], 5).tolist() for c, name in enumerate(("pitch", "yaw", "roll"))
        },
        "blink": np.round(take.blink, 3).tolist(),
        "phones": [asdict(phone) for phone in phones],
    }
    path.write_text(json.dumps(truth) + "\n")
