"""What the microphones of benchmarks say: speech that never says the same twice, ready to be sent."""

import asyncio
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, to_pcm16
from engine.speech.espeak import speak
from streaming.encoding.base import SOUND_CLOCK
from streaming.encoding.opus import OpusEncoder
from streaming.webrtc.client import PACKET_SAMPLES

_PACKET_S = 0.02
_CYCLE_S = 10.0
"""With pauses, speech and silence take turns within this time."""


def speech_clip(seconds: float = 60.0, share: float = 1.0) -> Samples:
    """So much speech, of which each ten seconds are speech for `share` of the time, then silence.

    At a share of 1 there are only the short pauses of a reader: the worst case for a server. Raises
    KouboError for a share that is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise KouboError(f"--speaking {share:g} is no share of the time; give one above 0, at most 1.")
    parts: list[Samples] = []
    while sum(part.size for part in parts) < seconds * SAMPLE_RATE:
        parts.append(speak(f"This is sentence number {101 * len(parts) + 17}.", "en-us").samples)
    clip = np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]
    at = np.arange(clip.size) / SAMPLE_RATE % _CYCLE_S
    return np.where(at < share * _CYCLE_S, clip, np.float32(0))


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A clip and its Opus packets of 20 ms, encoded once for all microphones."""

    samples: Samples
    packets: tuple[bytes, ...]

    @classmethod
    def of(cls, clip: Samples) -> "EncodedClip":
        """Encode a clip; what does not fill a tick at its end is left out."""
        clip = clip[: clip.size // SAMPLES_PER_TICK * SAMPLES_PER_TICK]
        encoder = OpusEncoder()
        made = [
            packet.data
            for slot, sound in enumerate(to_pcm16(clip).reshape(-1, SAMPLES_PER_TICK))
            for packet in encoder.encode(sound, slot)
        ]
        return cls(clip, tuple(made))


class EncodedMicrophone(MediaStreamTrack):
    """A microphone that says a clip over and over from packet `first` on, in real time.

    `sent[n]` is when packet n (samples n * 320 on, at 16 kHz, of what it says) left, on the loop's clock.
    """

    kind = "audio"

    def __init__(self, clip: EncodedClip, first: int = 0) -> None:
        super().__init__()
        self._clip = clip
        self._first = first
        self._start = 0.0
        self.sent: list[float] = []

    async def recv(self) -> "av.Packet[Any]":
        """The next 20 ms, when they have been "recorded"; aiortc sends a packet as it is."""
        if self.readyState != "live":
            raise MediaStreamError
        clock = asyncio.get_running_loop().time
        if not self.sent:
            self._start = clock()
        number = len(self.sent)
        await asyncio.sleep(max(0.0, self._start + (number + 1) * _PACKET_S - clock()))
        packet: av.Packet[Any] = av.Packet(
            self._clip.packets[(self._first + number) % len(self._clip.packets)]
        )
        packet.pts = number * SOUND_CLOCK // 50
        packet.time_base = Fraction(1, SOUND_CLOCK)
        self.sent.append(clock())
        return packet

    def samples(self, start: int, stop: int) -> Samples:
        """What it says from sample `start` to `stop`, at 16 kHz, counted from its beginning."""
        offset = self._first * PACKET_SAMPLES
        return np.take(self._clip.samples, np.arange(offset + start, offset + stop), mode="wrap")
