"""AAC-LC by FFmpeg's own encoder, for outlets: platforms and files know no Opus."""

from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_TICK
from streaming.encoding.base import SOUND_CLOCK, EncodedSound

FRAME_SAMPLES = 1024
_BITRATE = 96_000
_PATIENCE_TICKS = FRAME_RATE
"""Longer gaps between ticks are not filled with silence: a fresh encoder begins after them."""


class AacEncoder:
    """Ticks of 40 ms in, AAC frames of 1024 samples at 48 kHz out, mono, without ADTS headers.

    Where slots were skipped there is silence, so that frames always follow each other without a hole.
    """

    def __init__(self) -> None:
        self._codec = _open_codec()
        self.config = bytes(self._codec.extradata or b"")
        self._resampler = _open_resampler()
        self._next: int | None = None

    def encode(self, sound: NDArray[np.int16], slot: int) -> list[EncodedSound]:
        """The frames that this tick completes: one or two, timed so that the decoder's delay is made up."""
        missing = slot - self._next if self._next is not None else 0
        if missing > _PATIENCE_TICKS:
            self._codec, self._resampler = _open_codec(), _open_resampler()
            missing = 0
        self._next = slot + 1
        silence = np.zeros(SAMPLES_PER_TICK, np.int16)
        made: list[EncodedSound] = []
        for at in range(slot - missing, slot + 1):
            made += self._tick(sound if at == slot else silence, at)
        return made

    def _tick(self, sound: NDArray[np.int16], slot: int) -> list[EncodedSound]:
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, slot * SAMPLES_PER_TICK
        frame.time_base = Fraction(1, SAMPLE_RATE)
        packets = [packet for part in self._resampler.resample(frame) for packet in self._codec.encode(part)]
        # The first frame only primes the decoder; before slot 0 there is no time for it.
        return [
            EncodedSound(bytes(packet), "aac", packet.pts, FRAME_SAMPLES)
            for packet in packets
            if packet.pts is not None and packet.pts >= 0
        ]


def _open_codec() -> AudioCodecContext:
    codec = av.CodecContext.create("aac", "w")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate = SOUND_CLOCK
    codec.layout = "mono"
    codec.format = "fltp"
    codec.bit_rate = _BITRATE
    codec.time_base = Fraction(1, SOUND_CLOCK)
    # AudioSpecificConfig in extradata, and frames without headers.
    codec.flags |= av.codec.context.Flags.global_header
    codec.open()
    return codec


def _open_resampler() -> av.AudioResampler:
    return av.AudioResampler(format="fltp", layout="mono", rate=SOUND_CLOCK, frame_size=FRAME_SAMPLES)
