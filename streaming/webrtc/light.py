"""A viewer for benchmarks that costs next to nothing, so that the server is measured and not its viewers.

aiortc connects it and keeps the connection; media packets are noted where they leave the socket. RFC 3550
headers are not encrypted by SRTP (RFC 3711), so pictures are told by them alone; sound is deciphered and
decoded when the measure is over. Nothing is estimated or asked for again: on loopback nothing is lost.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.rtp import RtpPacket

from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE, Samples
from streaming.encoding.base import SOUND_CLOCK, Codec
from streaming.webrtc.client import Exchange, connect_peer, new_peer
from streaming.webrtc.ending import close_connection
from streaming.webrtc.receive import opus_type
from streaming.webrtc.viewer import MIME_TYPES

_HEADER = struct.Struct("!BBHL")
"""Version and flags, marker and payload type, sequence number, time."""

_MEDIA = range(128, 192)
"""First bytes of SRTP and SRTCP packets (RFC 7983)."""

_RTCP = range(192, 224)
"""Second bytes of RTCP packets (RFC 5761)."""


class LightWatcher:
    """A viewer that decodes nothing while it watches.

    `arrived` maps the RTP time of each complete picture to when its last packet came, in seconds of the event
    loop's clock; `began` is set by the first. `received` counts bytes of media, `holes` where packets of
    pictures are missing.
    """

    def __init__(self, codec: Codec | None = None) -> None:
        self.pc: RTCPeerConnection = new_peer()
        self.arrived: dict[int, float] = {}
        self.began = asyncio.Event()
        self.received = 0
        self.holes = 0
        self._clock = asyncio.get_running_loop().time
        self._sounds: list[tuple[int, bytes]] = []
        self._opus: int | None = None
        self._next: int | None = None
        self._whole = True
        picture = self.pc.addTransceiver("video", direction="recvonly")
        self.pc.addTransceiver("audio", direction="recvonly")
        if codec is not None:
            known = RTCRtpReceiver.getCapabilities("video")
            assert known is not None
            wanted = [one for one in known.codecs if one.mimeType.lower() == MIME_TYPES[codec]]
            picture.setCodecPreferences(wanted)

    async def connect(self, exchange: Exchange) -> None:
        """Offer, take the answer without estimates of the bit rate, and begin to connect."""

        async def post(offer: str) -> str:
            self._tap()
            answer = await exchange(offer)
            self._opus = opus_type(answer)
            # Where packets carry their times of sending, aiortc would estimate the bit rate from them.
            return "".join(line for line in answer.splitlines(keepends=True) if "abs-send-time" not in line)

        await connect_peer(self.pc, post)

    async def close(self) -> None:
        """Stop watching."""
        await close_connection(self.pc)

    def heard(self) -> list[tuple[int, Samples]]:
        """The sound that came: for each packet its place, in samples at 16 kHz since the first one, and 16
        kHz mono. Once, and before `close`: it takes a while.
        """
        srtp = self._transport._rx_srtp
        decoder = av.CodecContext.create("libopus", "r")
        assert isinstance(decoder, av.AudioCodecContext)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        sounds, self._sounds = self._sounds, []
        heard: list[tuple[int, Samples]] = []
        for stamp, data in sounds:
            packet = av.Packet(RtpPacket.parse(srtp.unprotect(data)).payload)
            at = ((stamp - sounds[0][0]) & 0xFFFFFFFF) * SAMPLE_RATE // SOUND_CLOCK
            frames = decoder.decode(packet)
            for frame in frames:
                frame.pts = None  # placed by its packet; holes would make the resampler invent samples
            parts = [
                np.asarray(part.to_ndarray(), np.float32).reshape(-1)
                for frame in frames
                for part in resampler.resample(frame)
            ]
            if parts:
                heard.append((at, np.concatenate(parts)))
        return heard

    @property
    def _transport(self) -> Any:
        return self.pc.getTransceivers()[0].receiver.transport

    def _tap(self) -> None:
        """Take media packets from the sockets. Raises KouboError where this aiortc has them elsewhere."""
        try:
            sockets = self._transport.transport._connection._protocols
        except AttributeError as error:
            raise KouboError(
                "This aiortc hides its sockets from benchmarks; install the version of requirements.lock."
            ) from error
        for protocol in sockets:
            protocol.datagram_received = self._tapped(protocol.datagram_received)

    def _tapped(self, otherwise: Callable[[bytes, Any], None]) -> Callable[[bytes, Any], None]:
        def take(data: bytes, address: Any) -> None:
            if data[0] in _MEDIA and data[1] not in _RTCP:
                self._take(data)
            else:
                otherwise(data, address)

        return take

    def _take(self, data: bytes) -> None:
        self.received += len(data)
        _, kind, number, stamp = _HEADER.unpack_from(data)
        if kind & 0x7F == self._opus:
            self._sounds.append((stamp, data))
            return
        if self._next is not None and number != self._next:
            self.holes += 1
            self._whole = False
        self._next = (number + 1) & 0xFFFF
        if kind & 0x80:
            if self._whole:
                self.arrived[stamp] = self._clock()
                self.began.set()
            self._whole = True
