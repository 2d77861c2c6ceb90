"""Sending what is already encoded through aiortc, and hearing what its receivers say."""

import logging
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import av
from aiortc import RTCRtpSender
from aiortc.codecs.base import Encoder
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder

from engine.speech.audio import FRAME_RATE
from streaming.encoding.base import SOUND_CLOCK, Codec, EncodedPicture, EncodedSound

Packet: TypeAlias = "av.Packet[Any]"

VIDEO_CLOCK = 90_000
_SHARED = 64
"""Pictures of all sessions whose packets are kept: viewers of one session ask for them at the same moment."""

_ENCODER = "_RTCRtpSender__encoder"
_KEYFRAME = "_send_keyframe"

logger = logging.getLogger(__name__)


@lru_cache(_SHARED)
def picture_packet(picture: EncodedPicture) -> Packet:
    """The packet that every viewer's sender gets, timed at 90 kHz."""
    packet: Packet = av.Packet(picture.data)
    packet.pts, packet.time_base = picture.slot * VIDEO_CLOCK // FRAME_RATE, Fraction(1, VIDEO_CLOCK)
    return packet


def sound_packet(sound: EncodedSound) -> Packet:
    """The packet for a sender, timed at 48 kHz."""
    packet: Packet = av.Packet(sound.data)
    packet.pts, packet.time_base = sound.pts, Fraction(1, SOUND_CLOCK)
    return packet


class PacketSender(Encoder):
    """Stands where aiortc's sender keeps its encoder: cuts pictures into RTP payloads, encodes nothing.

    H.264 payloads are the same for all viewers and are cut once; VP8 ones carry each viewer's own numbers.
    """

    def __init__(self, codec: Codec, report_bitrate: Callable[[int], None]) -> None:
        self._vp8 = Vp8Encoder() if codec == "vp8" else None
        self._report_bitrate = report_bitrate

    def encode(self, frame: object, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Never asked for: the track gives packets."""
        raise TypeError("Pictures are encoded before they are sent.")

    def pack(self, packet: Packet) -> tuple[list[bytes], int]:
        """RTP payloads and the RTP time of a packet."""
        packed: tuple[list[bytes], int] = self._vp8.pack(packet) if self._vp8 else _h264_payloads(packet)
        return packed

    @property
    def target_bitrate(self) -> int:
        """aiortc's sender sets this, in bit/s, whenever a receiver reports an estimate (REMB)."""
        return 0

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._report_bitrate(bitrate // 1000)


@lru_cache(_SHARED)
def _h264_payloads(packet: Packet) -> tuple[list[bytes], int]:
    payloads: tuple[list[bytes], int] = H264Encoder().pack(packet)
    return payloads


def hear_receiver(
    sender: RTCRtpSender,
    codec: Codec,
    *,
    request_keyframe: Callable[[], None],
    report_bitrate: Callable[[int], None],
) -> bool:
    """Have a sender tell what its receiver asks for: key frames (PLI, FIR) and its bit rate (REMB, kbit/s).

    aiortc sends packets of a track as they are, but keeps such requests to itself and has no public way to
    hear them; so its place for an encoder is taken, and its method for key frames, before its track gives the
    first packet. Where a version names them differently, packets still flow, and nothing is heard. Returns
    whether it will be.
    """
    target: Any = sender
    if not (hasattr(target, _ENCODER) and hasattr(target, _KEYFRAME)):
        logger.warning("this aiortc hides what receivers ask for: lost pictures may stay visible")
        return False
    setattr(target, _ENCODER, PacketSender(codec, report_bitrate))
    setattr(target, _KEYFRAME, request_keyframe)
    return True
