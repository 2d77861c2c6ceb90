"""WHIP: the microphone that drives the presenter, or a visitor's."""

import asyncio
from collections.abc import Callable

import av
import numpy as np
from aiortc import RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.audio.codeccontext import AudioCodecContext

from engine.speech.audio import SAMPLE_RATE, Samples, from_pcm16
from streaming.encoding.base import SOUND_CLOCK
from streaming.settings import IceServer
from streaming.webrtc.peer import Peer
from streaming.webrtc.receive import ArrivalOrder, opus_type, put_in_order, replace_jitter_buffer
from streaming.webrtc.sdp import Offer

GAP_S = 0.06
"""Lost packets up to this long are replaced by silence; after longer holes the sound just goes on."""

VISITOR_GAP_S = 2.0
"""The same for a visitor: its sound is compared with what was played, so it must keep its time."""

SILENT_S = 3.0
"""A publisher that has sent nothing for this long (even muted ones send) has gone without a word."""


class Microphone(Peer):
    """Receives one audio track and hands it on as 16 kHz mono, packet by packet, unbuffered."""

    def __init__(
        self,
        ice_servers: tuple[IceServer, ...],
        connect_timeout_s: float,
        hear: Callable[[Samples], None],
        gap_s: float = GAP_S,
    ) -> None:
        super().__init__(ice_servers, connect_timeout_s)
        self._hear = hear
        self._gap_s = gap_s
        self._listener: asyncio.Task[None] | None = None
        self._track: MediaStreamTrack | None = None
        self._heard_at = asyncio.get_running_loop().time() + connect_timeout_s
        self._order = ArrivalOrder(self._packet)
        self._decoder = _opus_decoder()
        # Integers: in float, FFmpeg's mix of stereo to mono is 3 dB too loud.
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        self._stamp = self._at = 0
        self._expected: int | None = None

    @property
    def gone_quiet(self) -> bool:
        """Whether no sound at all has come for so long that the publisher must have vanished."""
        return asyncio.get_running_loop().time() - self._heard_at > SILENT_S

    def _prepare(self, offer: Offer) -> None:
        self.pc.on("track", self._on_track)

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._track = track

    def _applied(self) -> None:
        for transceiver in self.pc.getTransceivers():
            if transceiver.kind == "audio":
                transceiver.direction = "recvonly"
                receiver: RTCRtpReceiver = transceiver.receiver
                replace_jitter_buffer(receiver, self._order)
                put_in_order(receiver)
            else:
                # A camera is not needed: the client is told not to send it.
                transceiver.direction = "inactive"

    def _start(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._order.own_type = opus_type(self.pc.localDescription.sdp)
        if self._track is not None:
            self._listener = asyncio.create_task(self._listen(self._track), name=f"microphone-{self.id}")

    async def _stop(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])

    async def _listen(self, track: MediaStreamTrack) -> None:
        """Until the publisher ends. Sound that is not Opus comes this way, decoded by aiortc."""
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                self.hang_up()
                return
            assert isinstance(frame, av.AudioFrame)
            self._frame(frame)

    def _packet(self, data: bytes, stamp: int) -> None:
        """One Opus packet, decoded here: that takes less than a thread needs to be woken."""
        try:
            frames = self._decoder.decode(av.Packet(data))
        except av.FFmpegError:
            return  # as good as lost
        # Times wrap after a day at 48 kHz (RFC 7587 section 4.1).
        ahead = (stamp - self._stamp) & 0xFFFFFFFF
        self._stamp = stamp
        self._at += ahead if ahead < 1 << 31 else ahead - (1 << 32)
        for frame in frames:
            frame.pts = self._at
            self._frame(frame)

    def _frame(self, frame: av.AudioFrame) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if self._expected is not None and frame.pts is not None:
            missing = (frame.pts - self._expected) / frame.sample_rate
            if 0 < missing <= self._gap_s:
                self._hear(np.zeros(round(missing * SAMPLE_RATE), np.float32))
        self._expected = None if frame.pts is None else frame.pts + frame.samples
        # Timed by arrival alone: holes would make the resampler invent samples.
        frame.pts = None
        for part in self._resampler.resample(frame):
            self._hear(from_pcm16(np.asarray(part.to_ndarray(), np.int16).reshape(-1)))


def _opus_decoder() -> AudioCodecContext:
    """Opus to mono at 48 kHz, whatever it was made of."""
    codec = av.CodecContext.create("libopus", "r")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate, codec.layout = SOUND_CLOCK, "mono"
    return codec
