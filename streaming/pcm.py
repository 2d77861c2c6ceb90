"""PCM of any rate, as it comes off a wire, to the engine's 16 kHz."""

import av
import numpy as np

from engine.speech.audio import SAMPLE_RATE, Samples, from_pcm16

MIN_RATE = 8_000
MAX_RATE = 48_000


class PcmReader:
    """Mono s16le at `rate` Hz in, in pieces of any length; float32 in [-1, 1] at 16 kHz out.

    The filter keeps a few milliseconds for itself; `flush` gives them out, and n samples in are then
    n * 16000 / rate out, rounded, whatever the pieces were.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler: av.AudioResampler | None = None
        self._rest = b""
        self._taken = 0
        self._given = 0
        self._begin()

    def push(self, data: bytes) -> Samples:
        """The sound so far; half a sample at the end waits for its other half."""
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        pcm = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        self._taken += pcm.size
        if self._resampler is None or not pcm.size:
            return self._given_out(from_pcm16(pcm))
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate
        return self._given_out(_joined(self._resampler.resample(frame)))

    def flush(self) -> Samples:
        """The rest of an utterance; the next push begins another."""
        rest = _joined(self._resampler.resample(None)) if self._resampler and self._taken else _joined([])
        missing = round(self._taken * SAMPLE_RATE / self._rate) - self._given
        self._begin()
        return np.pad(rest[: max(0, missing)], (0, max(0, missing - rest.size)))

    def _begin(self) -> None:
        self._rest = b""
        self._taken = self._given = 0
        same = self._rate == SAMPLE_RATE
        self._resampler = None if same else av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)

    def _given_out(self, samples: Samples) -> Samples:
        self._given += samples.size
        return samples


def _joined(frames: list[av.AudioFrame]) -> Samples:
    parts = [np.asarray(frame.to_ndarray(), np.int16).reshape(-1) for frame in frames]
    return from_pcm16(np.concatenate([np.zeros(0, np.int16), *parts]))
