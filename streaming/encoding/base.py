"""What encoders give and receivers take: one clock, one encode for everybody."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.errors import KouboError
from engine.picture.yuv import Frame

Codec: TypeAlias = Literal["h264", "vp8"]
SoundCodec: TypeAlias = Literal["opus", "aac"]

CODECS: tuple[Codec, ...] = ("h264", "vp8")

SOUND_CLOCK = 48_000
"""Ticks a second of `EncodedSound.pts`; Opus counts so whatever it encodes (RFC 7587 section 4.1)."""


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One picture, shared by all its receivers.

    `data`: H.264 is one Annex B access unit without B-frames, with SPS and PPS before each key frame; VP8 is
    one frame. `slot` is the tick's: the media time is slot / 25 s since the session's clock began.
    """

    data: bytes
    slot: int
    keyframe: bool


@dataclass(frozen=True, slots=True)
class EncodedSound:
    """One packet of sound: Opus of 20 ms, or a raw AAC-LC frame (no ADTS header), 48 kHz mono.

    `pts` and `duration` count 1/48000 s on the clock of the pictures: slot n is at 1920 * n.
    """

    data: bytes
    codec: SoundCodec
    pts: int
    duration: int


class Receiver(Protocol):
    """What attaches to an `EncodeHub`. Called on the event loop; must not block."""

    def picture(self, picture: EncodedPicture) -> None:
        """The next picture; the first one is a key frame, and each depends on the one before it."""
        ...

    def sound(self, sound: EncodedSound) -> None:
        """The next packet of sound."""
        ...

    def clear(self) -> None:
        """An interrupt: what has not left yet is revoked. Recordings may ignore it.

        Pictures that are already encoded should still be sent: those that follow depend on them.
        """
        ...


class PictureEncoder(Protocol):
    """Encodes the pictures of one stream; used by one thread at a time."""

    @property
    def name(self) -> str:
        """FFmpeg's name of it, such as "libx264"."""
        ...

    def encode(self, picture: Frame, slot: int, kbps: int, *, keyframe: bool) -> EncodedPicture | None:
        """One picture, I420 uint8 (h * 3 // 2, w), at about `kbps`; `keyframe` demands one.

        A new bit rate may cost a key frame where the library cannot change it. None where the encoder leaves
        a picture out. Raises av.FFmpegError.
        """
        ...


class SoundEncoder(Protocol):
    """Encodes the sound of one session; used by one thread at a time."""

    config: bytes
    """AudioSpecificConfig (ISO/IEC 14496-3) of AAC; empty for Opus."""

    def encode(self, sound: NDArray[np.int16], slot: int) -> list[EncodedSound]:
        """Packets that are complete after this tick's sound, int16 (640,) mono at 16 kHz."""
        ...


def read_codec(name: str) -> Codec:
    """A codec by name. Raises KouboError."""
    for codec in CODECS:
        if codec == name:
            return codec
    raise KouboError(f"There is no picture codec {name!r}; choose {' or '.join(CODECS)}.")
