"""A file's sound on the clock of its pictures."""

from pathlib import Path
from typing import BinaryIO

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from engine.errors import BadMediaError
from engine.speech.audio import SAMPLE_RATE, to_pcm16

_TOLERANCE = 0.04  # seconds by which sound may stray from its timestamps before it is put right
_BLOCK = 60 * SAMPLE_RATE  # samples of silence written at a time
_MAX_GAP = 12 * 3600.0  # seconds from zero; a larger time is a broken clock, not a pause


def write_sound(path: Path, file: BinaryIO, zero: float, seconds: float | None = None) -> tuple[int, int]:
    """The first audio track of `path` as 16-bit 16 kHz mono in `file`, sample 0 at time `zero` of the file's
    clock, and no more than begins within `seconds`.

    Gaps in time and damaged packets become silence, what overlaps or comes before `zero` is left out.
    Returns the numbers of samples and of damaged packets. Raises BadMediaError when no sound can be read.
    """
    damaged = 0
    writer = _Writer(file, zero)
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(audio=0) if container.streams.audio else ():
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    damaged += 1
                    continue
                for frame in frames:
                    writer.add(frame)
                if seconds is not None and writer.written > seconds * SAMPLE_RATE:
                    break
    except av.error.FFmpegError as error:
        if not writer.written:
            raise BadMediaError(f"The sound of {path.name} cannot be read ({error.strerror}).") from error
        damaged += 1
    writer.flush()
    if not writer.written:
        raise BadMediaError(f"The sound of {path.name} cannot be read; no packet of it is whole.")
    return writer.written, damaged


class _Writer:
    """Resamples frames and lays them down where their timestamps say."""

    def __init__(self, file: BinaryIO, zero: float) -> None:
        self._file = file
        self._zero = zero
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[int, str, str] | None = None
        self._next: float | None = None  # where the next frame should start, seconds from zero
        self._skip = 0
        self.written = 0

    def add(self, frame: av.AudioFrame) -> None:
        start = None if frame.time is None else frame.time - self._zero
        shape = (frame.sample_rate, frame.layout.name, frame.format.name)
        strayed = start is not None and (self._next is None or abs(start - self._next) > _TOLERANCE)
        if strayed or shape != self._shape:
            self.flush()
            self._resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
            self._shape = shape
        if strayed and start is not None and abs(start) < _MAX_GAP:
            self._place(start)
            self._next = start
        self._next = (self._next or 0.0) + frame.samples / frame.sample_rate
        frame.pts = None
        assert self._resampler is not None
        for out in self._resampler.resample(frame):
            self._lay(out)

    def flush(self) -> None:
        if self._resampler is not None:
            for out in self._resampler.resample(None):
                self._lay(out)
            self._resampler = None

    def _place(self, start: float) -> None:
        missing = round(start * SAMPLE_RATE) - self.written
        self._skip = max(-missing, 0)
        while missing > 0:
            silence = np.zeros(min(missing, _BLOCK), np.int16)
            self._file.write(silence.tobytes())
            self.written += silence.size
            missing -= silence.size

    def _lay(self, frame: av.AudioFrame) -> None:
        # The mean of the channels: FFmpeg's own mix of float sound adds them up.
        samples: NDArray[np.float32] = frame.to_ndarray().mean(axis=0)
        skipped = min(self._skip, samples.size)
        self._skip -= skipped
        samples = samples[skipped:]
        self._file.write(to_pcm16(samples).tobytes())
        self.written += samples.size
