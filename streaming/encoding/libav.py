"""Picture encoders of FFmpeg, through PyAV: what they have in common."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE
from streaming.encoding.base import EncodedPicture

TIME_BASE = Fraction(1, FRAME_RATE)
_NO_KEYFRAMES = 1_000_000
"""Pictures between key frames that the encoder makes by itself: they are made when they are asked for."""

Options = Callable[[int], Mapping[str, str]]


class LibavPictureEncoder:
    """A `PictureEncoder` for I420 of `size` (width, height), opened by its first picture.

    `options(kbps)` are FFmpeg's for that bit rate. Where `adaptable`, the library follows another bit rate,
    never above `max_kbps`, without a key frame; else the encoder is opened anew.
    """

    def __init__(
        self, name: str, size: tuple[int, int], max_kbps: int, options: Options, *, adaptable: bool
    ) -> None:
        self.name = name
        self._size = size
        self._max_kbps = max_kbps
        self._options = options
        self._adaptable = adaptable
        self._codec: VideoCodecContext | None = None

    def encode(self, picture: Frame, slot: int, kbps: int, *, keyframe: bool) -> EncodedPicture | None:
        """See `PictureEncoder`. A picture of another size than the encoder's is a ValueError of PyAV."""
        codec = self._at(kbps)
        # The picture itself, not a copy of it: libraries take their own while they encode.
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(picture), format="yuv420p")
        frame.pts, frame.time_base = slot, TIME_BASE
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        packets = codec.encode(frame)
        if not packets:
            return None
        data = b"".join(bytes(packet) for packet in packets)
        return EncodedPicture(data, slot, packets[0].is_keyframe)

    def _at(self, kbps: int) -> VideoCodecContext:
        codec, wanted = self._codec, 1000 * min(kbps, self._max_kbps)
        if codec is not None and codec.bit_rate != wanted:
            if self._adaptable:
                codec.bit_rate = wanted
            else:
                codec = None
        if codec is None:
            codec = self._codec = self._open(wanted)
        return codec

    def _open(self, bit_rate: int) -> VideoCodecContext:
        codec = av.CodecContext.create(self.name, "w")
        assert isinstance(codec, VideoCodecContext)
        codec.width, codec.height = self._size
        codec.pix_fmt = "yuv420p"
        codec.colorspace, codec.color_range = Colorspace.ITU601, ColorRange.MPEG
        codec.bit_rate = bit_rate
        codec.framerate, codec.time_base = Fraction(FRAME_RATE), TIME_BASE
        codec.gop_size, codec.max_b_frames = _NO_KEYFRAMES, 0
        codec.thread_count = threads(self._size)
        codec.options = dict(self._options(self._max_kbps if self._adaptable else bit_rate // 1000))
        codec.open()
        return codec


def threads(size: tuple[int, int]) -> int:
    """Threads of one encoder: one is enough up to 720p, and leaves the others to other sessions."""
    return 1 if size[0] * size[1] <= 1280 * 720 else 2
