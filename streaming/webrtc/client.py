"""A small WHIP and WHEP client, for benchmarks and tests: sends a clip, notes when things arrive."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from fractions import Fraction

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16
from streaming.webrtc.ending import close_connection
from streaming.webrtc.receive import ArrivalOrder, replace_jitter_buffer

Exchange = Callable[[str], Awaitable[str]]
"""Posts an SDP offer and returns the answer."""

_RATE = 48_000
_PACKET = _RATE // 50
_PACKET_S = 0.02
PACKET_SAMPLES = SAMPLE_RATE // 50
"""Samples of a microphone's packet, at 16 kHz."""


class ClipTrack(MediaStreamTrack):
    """A microphone that says a clip over and over, in real time, 20 ms a packet.

    `sent[n]` is the time, on the event loop's clock, at which packet n (samples n * 320 on, at 16 kHz) left.
    """

    kind = "audio"

    def __init__(self, clip: Samples) -> None:
        super().__init__()
        self._clip = clip[: clip.size // PACKET_SAMPLES * PACKET_SAMPLES]
        self._pcm = _at_48k(self._clip)
        self._start = 0.0
        self.sent: list[float] = []

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms, when they have been "recorded"."""
        if self.readyState != "live":
            raise MediaStreamError
        clock = asyncio.get_running_loop().time
        if not self.sent:
            self._start = clock()
        number = len(self.sent)
        await asyncio.sleep(max(0.0, self._start + (number + 1) * _PACKET_S - clock()))
        at = number * _PACKET
        frame = av.AudioFrame.from_ndarray(
            np.take(self._pcm, np.arange(at, at + _PACKET), mode="wrap").reshape(1, -1),
            format="s16",
            layout="mono",
        )
        frame.sample_rate, frame.pts, frame.time_base = _RATE, at, Fraction(1, _RATE)
        self.sent.append(clock())
        return frame

    def samples(self, start: int, stop: int) -> Samples:
        """What it says from sample `start` to `stop`, at 16 kHz, counted from its beginning."""
        return np.take(self._clip, np.arange(start, stop), mode="wrap")


def _at_48k(clip: Samples) -> NDArray[np.int16]:
    frame = av.AudioFrame.from_ndarray(to_pcm16(clip).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    whole = np.concatenate([part.to_ndarray().reshape(-1) for part in parts])
    # Exactly three samples for each, so that positions can be told.
    return np.resize(whole, 3 * clip.size)


class MarkedFrames:
    """A jitter buffer for video that gives a picture out with its last packet, as browsers do.

    aiortc's own waits for the first packet of the next picture, which is 40 ms later. `arrived` maps a
    picture's RTP time to the time of its last packet. Pictures with a hole are left out and a key frame is
    asked for.
    """

    def __init__(self, *, decode: bool = True) -> None:
        self.arrived: dict[int, float] = {}
        self._decode = decode
        self._clock = asyncio.get_running_loop().time
        self._parts: list[RtpPacket] = []
        self._next: int | None = None

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take a packet; a frame comes back with the last one of a picture, where pictures are decoded."""
        hole = self._next is not None and packet.sequence_number != self._next
        self._next = (packet.sequence_number + 1) & 0xFFFF
        if hole:
            self._parts.clear()
            return True, None
        self._parts.append(packet)
        if not packet.marker:
            return False, None
        parts, self._parts = self._parts, []
        self.arrived[packet.timestamp] = self._clock()
        if not self._decode:
            return False, None
        data = b"".join(part._data for part in parts)  # type: ignore[attr-defined]
        return False, JitterFrame(data, packet.timestamp)


class Watcher:
    """A viewer. `sounds` and `pictures` are tracks to receive from; `frames` knows when pictures arrived.

    With `relay`, a TURN server, nothing goes another way than through it.
    """

    def __init__(self, *, decode: bool = True, relay: RTCIceServer | None = None) -> None:
        self.pc = new_peer(relay)
        self.frames = MarkedFrames(decode=decode)
        picture = self.pc.addTransceiver("video", direction="recvonly")
        sound = self.pc.addTransceiver("audio", direction="recvonly")
        replace_jitter_buffer(picture.receiver, self.frames)
        replace_jitter_buffer(sound.receiver, ArrivalOrder())
        self._receivers = picture.receiver, sound.receiver

    async def connect(self, exchange: Exchange) -> None:
        """Offer, take the answer, and begin to connect."""
        await connect_peer(self.pc, exchange)

    async def close(self) -> None:
        """Stop watching."""
        await close_connection(self.pc)

    def arrival(self, picture: av.VideoFrame) -> float:
        """When the last packet of a picture came that was received from `pictures`, on the loop's clock."""
        arrived = self.frames.arrived
        assert picture.pts is not None
        return arrived[(next(iter(arrived)) + picture.pts) & 0xFFFFFFFF]

    @property
    def pictures(self) -> MediaStreamTrack:
        """Decoded `av.VideoFrame`s."""
        return self._receivers[0].track

    @property
    def sounds(self) -> MediaStreamTrack:
        """Decoded `av.AudioFrame`s."""
        return self._receivers[1].track


async def publish(track: MediaStreamTrack, exchange: Exchange) -> RTCPeerConnection:
    """Send a track by WHIP."""
    pc = new_peer()
    pc.addTransceiver(track, direction="sendonly")
    await connect_peer(pc, exchange)
    return pc


def new_peer(relay: RTCIceServer | None = None) -> RTCPeerConnection:
    """A connection for all tracks; with `relay`, a TURN server, through nothing else."""
    return RTCPeerConnection(
        RTCConfiguration(
            [relay] if relay else [],
            RTCIceTransportPolicy.RELAY if relay else RTCIceTransportPolicy.ALL,
            RTCBundlePolicy.MAX_BUNDLE,
        )
    )


async def connect_peer(pc: RTCPeerConnection, exchange: Exchange) -> None:
    """Offer, take the answer, and begin to connect; closed when that fails."""
    async with AsyncExitStack() as undo:
        undo.push_async_callback(close_connection, pc)
        await pc.setLocalDescription()
        answer = await exchange(pc.localDescription.sdp)
        await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        undo.pop_all()
