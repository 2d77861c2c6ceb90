"""Opus by libopus."""

from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_TICK
from streaming.encoding.base import SOUND_CLOCK, EncodedSound

PACKETS_PER_TICK = 2
_PACKET_SAMPLES = SAMPLES_PER_TICK // PACKETS_PER_TICK
_PACKET_CLOCK = SOUND_CLOCK // FRAME_RATE // PACKETS_PER_TICK
_BITRATE = 48_000


class OpusEncoder:
    """Ticks of 40 ms in, Opus packets of 20 ms out; 16 kHz goes straight in, so nothing is resampled."""

    config = b""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate = SAMPLE_RATE
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = _BITRATE
        codec.time_base = Fraction(1, SAMPLE_RATE)
        # In its other modes a decoder rings on for up to 160 ms after the packets that an interrupt revokes.
        codec.options = {"application": "lowdelay", "frame_duration": "20"}
        self._codec = codec
        self._samples = 0

    def encode(self, sound: NDArray[np.int16], slot: int) -> list[EncodedSound]:
        """Two packets, timed by the slot."""
        made: list[EncodedSound] = []
        for half in range(PACKETS_PER_TICK):
            part = sound[half * _PACKET_SAMPLES : (half + 1) * _PACKET_SAMPLES]
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = self._samples
            self._samples += _PACKET_SAMPLES
            pts = (slot * PACKETS_PER_TICK + half) * _PACKET_CLOCK
            made += [
                EncodedSound(bytes(packet), "opus", pts, _PACKET_CLOCK)
                for packet in self._codec.encode(frame)
            ]
        return made
