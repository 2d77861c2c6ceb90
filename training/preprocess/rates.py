"""Step 2, rates: pictures at 25 a second, sound at 16 kHz, both counted from the first picture.

Pictures come one at a time (engine.picture.video.read_rgb: upright, 8 bit, nearest in time). Sound goes to
disk as 16-bit samples and is read back in parts, so that hours of footage fit into little memory.
"""

from pathlib import Path

import numpy as np

from engine.speech.audio import SAMPLES_PER_TICK, Samples, from_pcm16, to_pcm16
from engine.speech.timeline import write_sound
from training.clips import span


class Sound:
    """16 kHz mono PCM on disk, read in ticks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size // 2

    @property
    def ticks(self) -> int:
        """Whole and started ticks."""
        return -(-self.size // SAMPLES_PER_TICK)

    def read(self, start: int, count: int) -> Samples:
        """Up to `count` samples in [-1, 1] from sample `start` >= 0."""
        with self.path.open("rb") as file:
            file.seek(2 * start)
            return from_pcm16(np.frombuffer(file.read(2 * min(count, max(self.size - start, 0))), np.int16))

    def write(self, start: int, samples: Samples) -> None:
        """Puts `samples` over those from sample `start` on."""
        with self.path.open("r+b") as file:
            file.seek(2 * start)
            file.write(to_pcm16(samples).tobytes())

    def span(self, first: int, ticks: int) -> Samples:
        """`ticks` ticks from tick `first` on, which may be negative; silence beyond both ends."""
        low = max(first, 0)
        samples = self.read(low * SAMPLES_PER_TICK, max(first + ticks - low, 0) * SAMPLES_PER_TICK)
        return span(samples, first - low, ticks)


def store_sound(path: Path, target: Path, zero: float) -> tuple[Sound, int]:
    """`engine.speech.timeline.write_sound` into the file `target`, and the number of damaged packets."""
    with target.open("wb") as file:
        _, damaged = write_sound(path, file, zero)
    return Sound(target), damaged
