"""Taking sound off the network without waiting.

aiortc's audio jitter buffer holds four packets back (80 ms), and after one lost packet it stays full for good
(16 packets, 320 ms), because it gives out one frame for each that comes in. The queue of LiveAvatar already
smooths what the network roughens, so the receiver here passes on every packet as it comes.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import RtpPacket
from aiortc.sdp import SessionDescription

_ATTRIBUTE = "_RTCRtpReceiver__jitter_buffer"
_RESTART_PACKETS = 200

logger = logging.getLogger(__name__)


class JitterBuffer(Protocol):
    """What aiortc's receiver asks of its jitter buffer."""

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take a packet; returns (ask the sender for a key frame, a complete frame if there is one)."""
        ...


class ArrivalOrder:
    """One packet in, the same packet out. One older than the last is as good as lost: its time is over.

    Payloads of `own_type`, an RTP payload type, go to `take` with their RTP times instead: aiortc would
    decode them in a thread of its own.
    """

    def __init__(self, take: Callable[[bytes, int], None] = lambda payload, stamp: None) -> None:
        self.own_type: int | None = None
        self._last: int | None = None
        self._take = take

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Pass an in-order packet on at once; drop late ones, repeated ones and empty ones."""
        if self._last is not None:
            ahead = (packet.sequence_number - self._last) & 0xFFFF
            late = ahead == 0 or ahead > 0x10000 - _RESTART_PACKETS
            if late:
                return False, None
        self._last = packet.sequence_number
        # aiortc's receiver leaves the depayloaded bytes here before it calls the buffer.
        data: bytes = packet._data  # type: ignore[attr-defined]
        if not data:
            return False, None
        if packet.payload_type != self.own_type:
            return False, JitterFrame(data, packet.timestamp)
        self._take(data, packet.timestamp)
        return False, None


def replace_jitter_buffer(receiver: RTCRtpReceiver, buffer: JitterBuffer) -> bool:
    """Give a receiver that has not started another jitter buffer.

    aiortc has no public way to do so; where a version names it differently, its own buffer stays and the
    microphone is 80 ms later. Returns whether it was replaced.
    """
    target: Any = receiver
    if not hasattr(target, _ATTRIBUTE):
        logger.warning("this aiortc hides its jitter buffer elsewhere: microphones are about 80 ms later")
        return False
    setattr(target, _ATTRIBUTE, buffer)
    return True


def opus_type(description: str) -> int | None:
    """The RTP payload type of Opus in an SDP description, None without."""
    for media in SessionDescription.parse(description).media:
        for codec in media.rtp.codecs:
            if codec.mimeType.lower() == "audio/opus":
                return int(codec.payloadType)
    return None
