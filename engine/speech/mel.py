"""Log-mel spectrogram of the Wav2Lip family: 80 columns a second, the same bits offline and streaming.

Conventions (Prajwal et al., "A Lip Sync Expert Is All You Need", 2020, `hparams.py`): 16 kHz, pre-emphasis
0.97, Hann window and FFT of 800 samples, hop 200, 80 Slaney mel bands from 55 to 7600 Hz, amplitude in dB
with reference 20 dB, mapped from [-100, 0] dB to [-4, 4] and clipped. Column k is centred on sample 200 * k;
beyond the ends of the signal there is silence.
"""

import numpy as np
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples

Mel = NDArray[np.float32]

MEL_BANDS = 80
HOP = 200
N_FFT = 800
FMIN = 55.0
FMAX = 7600.0
PRE_EMPHASIS = 0.97
MIN_LEVEL_DB = -100.0
REF_LEVEL_DB = 20.0
MAX_ABS = 4.0

SILENCE = -MAX_ABS
"""The value of every band in digital silence."""

WINDOW_COLUMNS = 16
"""Columns of the window that draws one picture: 200 ms."""

SILENT_WINDOW: Mel = np.full((MEL_BANDS, WINDOW_COLUMNS), SILENCE, np.float32)
"""What a picture in silence is drawn from."""

WINDOW_LEAD_TICKS = 3
"""The window of tick i starts this many ticks before it."""

COLUMNS_PER_TICK = SAMPLES_PER_TICK / HOP
"""3.2: 80 columns and 25 ticks a second."""

_HALF = N_FFT // 2


def _mel_frequency(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    linear = hertz * 3 / 200
    step = np.log(6.4) / 27
    return np.where(hertz < 1000, linear, 15 + np.log(np.maximum(hertz, 1000) / 1000) / step)


def _mel_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    step = np.log(6.4) / 27
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * step))


def _filter_bank() -> NDArray[np.float64]:
    """(80, 401) triangular filters of equal area, as librosa.filters.mel with its defaults."""
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    low, high = _mel_frequency(np.array([FMIN, FMAX]))
    edges = _mel_hertz(np.linspace(low, high, MEL_BANDS + 2))
    slopes = edges[:, None] - bins[None, :]
    width = np.diff(edges)[:, None]
    triangles = np.maximum(0, np.minimum(-slopes[:-2] / width[:-1], slopes[2:] / width[1:]))
    return triangles * (2 / (edges[2:] - edges[:-2]))[:, None]


_FILTERS = _filter_bank()
_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)


def mel_column(span: Samples) -> Mel:
    """One column (80,) from the 801 samples around it; the first only feeds the pre-emphasis.

    Each column is computed on its own, by the same operations whatever arrives before or after it: that is
    what makes streaming equal offline bit for bit.
    """
    exact = span.astype(np.float64)
    emphasised = exact[1:] - PRE_EMPHASIS * exact[:-1]
    magnitude = np.abs(np.fft.rfft(emphasised * _HANN))
    decibel = 20 * np.log10(np.maximum(1e-5, _FILTERS @ magnitude)) - REF_LEVEL_DB
    scaled = 2 * MAX_ABS * (decibel - MIN_LEVEL_DB) / -MIN_LEVEL_DB - MAX_ABS
    clipped: Mel = np.clip(scaled, -MAX_ABS, MAX_ABS).astype(np.float32)
    return clipped


def _silent_start() -> Samples:
    """Silence before a signal: half a window, and one sample for the pre-emphasis."""
    return np.zeros(_HALF + 1, np.float32)


class StreamingMel:
    """The log-mel spectrogram of a signal that arrives piece by piece."""

    def __init__(self) -> None:
        self._pending = _silent_start()

    def push(self, samples: Samples) -> Mel:
        """Add float32 samples in [-1, 1]; the columns (80, n) that are complete now, n >= 0."""
        self._pending = np.concatenate([self._pending, samples.astype(np.float32, copy=False)])
        return self._drain()

    def flush(self) -> Mel:
        """End the signal: its last columns (80, n), with silence past the end; then start anew."""
        columns = self.push(np.zeros(_HALF, np.float32))
        self._pending = _silent_start()
        return columns

    def _drain(self) -> Mel:
        count = max(0, (self._pending.size - N_FFT - 1) // HOP + 1)
        columns = np.empty((MEL_BANDS, count), np.float32)
        for k in range(count):
            columns[:, k] = mel_column(self._pending[k * HOP : k * HOP + N_FFT + 1])
        self._pending = self._pending[count * HOP :]
        return columns


def log_mel(samples: Samples) -> Mel:
    """The whole spectrogram, float32 (80, 1 + n // 200) in [-4, 4], of n samples in [-1, 1] at 16 kHz."""
    stream = StreamingMel()
    return np.concatenate([stream.push(samples), stream.flush()], axis=1)


def window_start(tick: int) -> int:
    """First column of the window of `tick`, round(3.2 * (tick - 3)); negative before the start."""
    return (16 * (tick - WINDOW_LEAD_TICKS) + 2) // 5


def window(mel: Mel, tick: int) -> Mel:
    """The (80, 16) window that draws `tick`; columns before the start or past the end are silence."""
    start = window_start(tick)
    out = np.full((MEL_BANDS, WINDOW_COLUMNS), SILENCE, np.float32)
    first, last = max(start, 0), min(start + WINDOW_COLUMNS, mel.shape[1])
    if first < last:
        out[:, first - start : last - start] = mel[:, first:last]
    return out


def _lookahead() -> int:
    """Samples after the start of a tick that its window needs; the phase repeats every five ticks."""
    return max(
        (window_start(tick) + WINDOW_COLUMNS - 1) * HOP + _HALF - tick * SAMPLES_PER_TICK for tick in range(5)
    )


LOOKAHEAD_SAMPLES = _lookahead()
"""Samples past a tick's start, the tick's own 640 included, that complete its window at every phase."""
