"""Sound files in, 16 kHz mono samples out (PyAV)."""

import math
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from engine.errors import BadMediaError

SAMPLE_RATE = 16_000
"""Hertz; every signal inside the engine is mono at this rate."""

FRAME_RATE = 25
"""Pictures a second."""

SAMPLES_PER_TICK = SAMPLE_RATE // FRAME_RATE
"""640 samples of speech go with each picture."""

Samples = NDArray[np.float32]


def load_speech(path: Path) -> Samples:
    """Read any sound or video file as float32 mono samples in [-1, 1] at 16 kHz.

    Raises BadMediaError when the file is missing, is no media file or holds no sound.
    """
    if not path.is_file():
        raise BadMediaError(f"There is no sound file at {path}; check the path.")
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    chunks: list[Samples] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise BadMediaError(f"{path.name} holds no sound; give a file with an audio track.")
            for frame in container.decode(audio=0):
                frame.pts = None
                chunks += [_mono(out) for out in resampler.resample(frame)]
        chunks += [_mono(out) for out in resampler.resample(None)]
    except av.error.FFmpegError as error:
        raise BadMediaError(
            f"{path.name} cannot be read as sound ({error.strerror}); give a WAV, FLAC, MP3 or video file."
        ) from error
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    if samples.size == 0:
        raise BadMediaError(f"{path.name} holds no sound; give a file with at least 40 ms of it.")
    return samples


def _mono(frame: av.AudioFrame) -> Samples:
    """The mean of the channels: FFmpeg's own mix of float sound adds them up and would leave [-1, 1]."""
    return np.asarray(frame.to_ndarray().mean(axis=0), dtype=np.float32)


def level_db(samples: Samples) -> float:
    """Mean power of samples in [-1, 1] as dB full scale, -100 for silence."""
    return 10 * math.log10(float(np.dot(samples, samples)) / samples.size + 1e-10)


def to_pcm16(samples: Samples) -> NDArray[np.int16]:
    """Float samples in [-1, 1] as 16-bit PCM, clipped."""
    scaled: NDArray[np.int16] = np.clip(np.rint(samples * 32767.0), -32768, 32767).astype(np.int16)
    return scaled


def from_pcm16(pcm: NDArray[np.int16]) -> Samples:
    """16-bit PCM as float samples in [-1, 1]."""
    return pcm.astype(np.float32) / np.float32(32768.0)
