"""What the microphone hands on, packet by packet."""

import asyncio
from fractions import Fraction

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engine.speech.audio import SAMPLE_RATE, Samples
from streaming.webrtc.ending import close_connection
from streaming.webrtc.microphone import Microphone

PACKET = 960


class Packets(MediaStreamTrack):
    """Gives 20 ms packets of a tone at 48 kHz stereo with these numbers, then ends."""

    kind = "audio"

    def __init__(self, numbers: list[int]) -> None:
        super().__init__()
        self._numbers = numbers

    async def recv(self) -> av.AudioFrame:
        if not self._numbers:
            raise MediaStreamError
        at = self._numbers.pop(0) * PACKET
        tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(at, at + PACKET) / 48_000)
        frame = av.AudioFrame.from_ndarray(
            np.repeat(tone.astype(np.int16), 2).reshape(1, -1), format="s16", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
        return frame


async def heard_of(numbers: list[int]) -> tuple[Samples, list[int]]:
    parts: list[Samples] = []
    microphone = Microphone((), 5.0, parts.append)
    await microphone._listen(Packets(numbers))
    await close_connection(microphone.pc)
    return np.concatenate(parts), [part.size for part in parts]


async def test_each_packet_is_handed_on_as_16_khz_mono() -> None:
    heard, sizes = await heard_of(list(range(50)))
    assert heard.dtype == np.float32
    # The resampler keeps less than 2 ms for itself.
    assert SAMPLE_RATE - 32 <= heard.size <= SAMPLE_RATE
    assert len(sizes) == 50
    spectrum = np.abs(np.fft.rfft(heard[:15_680] * np.hanning(15_680)))
    assert abs(int(np.argmax(spectrum)) * SAMPLE_RATE / 15_680 - 440) < 2
    assert 0.22 < np.abs(heard).max() < 0.27


async def test_lost_packets_leave_silence_of_their_length_but_long_holes_none() -> None:
    whole = (await heard_of(list(range(20))))[0].size
    lost, sizes = await heard_of([n for n in range(20) if n not in (7, 8)])
    assert lost.size == whole
    assert 640 in sizes
    hole = (await heard_of([*range(10), *range(500, 510)]))[0]
    assert hole.size == whole


async def test_sound_that_ends_hangs_up() -> None:
    microphone = Microphone((), 5.0, lambda samples: None)
    await asyncio.wait_for(microphone._listen(Packets([])), 5)
    assert microphone._ending
    await close_connection(microphone.pc)
