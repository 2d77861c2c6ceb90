"""The outgoing sound: encoded once a session, whatever the number of viewers."""

from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_TICK

SoundPacket: TypeAlias = "av.Packet[Any]"

RTP_CLOCK = 48_000
"""Opus always counts RTP time at 48 kHz, whatever it encodes (RFC 7587 section 4.1)."""

PACKETS_PER_TICK = 2
PACKET_SAMPLES = SAMPLES_PER_TICK // PACKETS_PER_TICK
_PACKET_CLOCK = RTP_CLOCK // FRAME_RATE // PACKETS_PER_TICK
_BITRATE = 48_000


class OpusEncoder:
    """Ticks of 40 ms in, Opus packets of 20 ms out; 16 kHz goes straight in, so nothing is resampled."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate = SAMPLE_RATE
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = _BITRATE
        codec.time_base = Fraction(1, SAMPLE_RATE)
        codec.options = {"application": "audio", "frame_duration": "20"}
        self._codec = codec
        self._samples = 0

    def encode(self, sound: NDArray[np.int16], slot: int) -> list[SoundPacket]:
        """Packets of one tick's sound, int16 (640,), timed by its slot at 48 kHz."""
        packets: list[SoundPacket] = []
        for half in range(PACKETS_PER_TICK):
            part = sound[half * PACKET_SAMPLES : (half + 1) * PACKET_SAMPLES]
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = self._samples
            self._samples += PACKET_SAMPLES
            for packet in self._codec.encode(frame):
                packet.pts = (slot * PACKETS_PER_TICK + half) * _PACKET_CLOCK
                packet.time_base = Fraction(1, RTP_CLOCK)
                packets.append(packet)
        return packets
