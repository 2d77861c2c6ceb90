"""Taking sound off the network, without waiting where packets come in order.

aiortc's audio jitter buffer holds four packets back (80 ms), and after one lost packet it stays full for good
(16 packets, 320 ms), because it gives out one frame for each that comes in. The queue of LiveAvatar already
smooths what the network roughens, so the receiver here passes on every packet as it comes. Only where packets
have overtaken each other, it waits a little for one that is missing: most of the sound would be lost else.
"""

import logging
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import RtpPacket
from aiortc.sdp import SessionDescription

_ATTRIBUTE = "_RTCRtpReceiver__jitter_buffer"
_HANDLE = "_handle_rtp_packet"
_RESTART_PACKETS = 200

WAIT_PACKETS = 3
"""A missing packet is waited for until so many after it have come, at most: 60 ms."""

_CALM_PACKETS = 500
"""After so many without one overtaken (10 s), nothing is waited for."""

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


_Item = TypeVar("_Item")


class Reordering(Generic[_Item]):
    """Numbered items in, the same in order out; waits for missing ones as far as others came late before."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, _Item] = {}
        self._wait = 0
        self._calm = 0

    def take(self, number: int, item: _Item) -> list[_Item]:
        """What can go on now; `number` counts modulo 2 ** 16. Items that come too late are left out."""
        if self._next is None:
            self._next = number
        ahead = (number - self._next) & 0xFFFF
        if ahead > 0x10000 - _RESTART_PACKETS:
            self._overtaken(0x10000 - ahead)
            return []
        if ahead > _RESTART_PACKETS:  # the sender has begun anew
            before = [self._held.pop(key) for key in self._in_order()]
            self._next = number
            return [*before, *self.take(number, item)]
        if self._held and ahead < max(self._ahead(key) for key in self._held):
            self._overtaken(0)
        self._calm += 1
        if self._calm > _CALM_PACKETS:
            self._wait = 0
        self._held[number] = item
        return self._ready()

    def _overtaken(self, by: int) -> None:
        """One came that was given up `by` items before, 0: in time."""
        self._calm = 0
        self._wait = min(WAIT_PACKETS, max(self._wait, by))

    def _ready(self) -> list[_Item]:
        ready: list[_Item] = []
        newest = max(self._ahead(key) for key in self._held)
        while self._held:
            assert self._next is not None
            if self._next in self._held:
                ready.append(self._held.pop(self._next))
            elif newest < self._wait:
                break
            self._next = (self._next + 1) & 0xFFFF
            newest -= 1
        return ready

    def _ahead(self, number: int) -> int:
        assert self._next is not None
        return (number - self._next) & 0xFFFF

    def _in_order(self) -> list[int]:
        return sorted(self._held, key=self._ahead)


def put_in_order(receiver: RTCRtpReceiver) -> bool:
    """Have a receiver that has not started take its packets in order, through a `Reordering`.

    aiortc has no public way to do so; where a version names its method differently, packets that were
    overtaken are lost. Returns whether they will not be.
    """
    target: Any = receiver
    handle = getattr(target, _HANDLE, None)
    if handle is None:
        logger.warning("this aiortc takes packets elsewhere: sound that is overtaken on its way is lost")
        return False
    reordering: Reordering[tuple[RtpPacket, int]] = Reordering()

    async def take(packet: RtpPacket, arrival_time_ms: int) -> None:
        for one, arrived in reordering.take(packet.sequence_number, (packet, arrival_time_ms)):
            await handle(one, arrival_time_ms=arrived)

    setattr(target, _HANDLE, take)
    return True


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
            if codec.mimeType.lower() == "audio/opus" and codec.payloadType is not None:
                return int(codec.payloadType)
    return None
