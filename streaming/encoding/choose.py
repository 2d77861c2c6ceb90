"""Which encoder makes H.264: the card's where it works, libx264 else, and why."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import av

from engine.errors import KouboError
from engine.picture.yuv import Frame
from streaming.encoding.base import Codec, EncodedPicture, PictureEncoder
from streaming.encoding.nvenc import open_nvenc, probe_nvenc
from streaming.encoding.vp8 import open_vp8
from streaming.encoding.x264 import open_x264

logger = logging.getLogger(__name__)

H264Encoder: TypeAlias = Literal["auto", "libx264", "h264_nvenc"]
Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PictureEncoders:
    """Opens picture encoders. `h264` makes that of H.264, `reason` says in one sentence why this one."""

    h264: Callable[[Size, int], PictureEncoder]
    reason: str

    def open(self, codec: Codec, size: Size, max_kbps: int) -> PictureEncoder:
        """An encoder for pictures of `size` (width, height) at up to `max_kbps`."""
        return self.h264(size, max_kbps) if codec == "h264" else open_vp8(size, max_kbps)


SOFTWARE = PictureEncoders(open_x264, "H.264 is encoded by libx264.")


def choose_encoders(wanted: H264Encoder, probe: Callable[[], None] = probe_nvenc) -> PictureEncoders:
    """Try what is wanted, once; "auto" is the card's encoder, else libx264.

    Raises KouboError when "h264_nvenc" is wanted and `probe` says that it does not work.
    """
    if wanted == "libx264":
        return SOFTWARE
    try:
        probe()
    except KouboError as error:
        if wanted == "h264_nvenc":
            raise
        return PictureEncoders(open_x264, f"H.264 is encoded by libx264. {error}")
    return PictureEncoders(_open_card, "H.264 is encoded by the NVIDIA card.")


def _open_card(size: Size, max_kbps: int) -> PictureEncoder:
    return CardOrProcessor(open_nvenc(size, max_kbps), partial(open_x264, size, max_kbps))


class CardOrProcessor:
    """A `PictureEncoder` of the card's that becomes libx264's when it fails.

    Consumer cards limit how many encoders are open at once, and a driver may lose one; the picture that
    failed is encoded again, as a key frame.
    """

    def __init__(self, card: PictureEncoder, open_other: Callable[[], PictureEncoder]) -> None:
        self._encoder = card
        self._open_other: Callable[[], PictureEncoder] | None = open_other

    @property
    def name(self) -> str:
        """That of the encoder at work."""
        return self._encoder.name

    def encode(self, picture: Frame, slot: int, kbps: int, *, keyframe: bool) -> EncodedPicture | None:
        """See `PictureEncoder`."""
        try:
            return self._encoder.encode(picture, slot, kbps, keyframe=keyframe)
        except av.FFmpegError as error:
            if self._open_other is None:
                raise
            logger.warning("the encoder of the card failed (%s); libx264 goes on", error.strerror)
            self._encoder, self._open_other = self._open_other(), None
            return self._encoder.encode(picture, slot, kbps, keyframe=True)
