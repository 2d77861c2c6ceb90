"""Video files in and out (PyAV): pictures at the house's 25 frames a second."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from engine.anchor.crop import Picture
from engine.errors import BadMediaError, NoPictureError
from engine.picture.convert import Converter
from engine.picture.decode import decoded, opened
from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, Samples, to_pcm16

KEEP_METADATA = "use_metadata_tags"
"""Of the MP4 muxer's movflags: keys that QuickTime does not know, such as AIGC, are written too."""


def read_rgb(path: Path, max_side: int | None = None) -> Iterator[Picture]:
    """The pictures of a video as RGB uint8 (h, w, 3), brought to 25 a second by the nearest in time.

    Upright, square pixels, progressive, HDR tone-mapped. With `max_side` larger pictures are shrunk to it and
    both sides are even. Raises BadMediaError when the file is missing, no video or breaks off, NoPictureError
    when it holds no picture.
    """
    with opened(path) as (container, stream):
        convert: Converter | None = None
        shown = 0
        last: tuple[float, av.VideoFrame] | None = None
        for time, frame in decoded(container, stream):
            if convert is None:
                convert = Converter(frame, stream.sample_aspect_ratio, max_side)
            while last is not None and shown / FRAME_RATE < (last[0] + time) / 2:
                yield convert(last[1])
                shown += 1
            last = (time, frame)
        if last is None or convert is None:
            raise NoPictureError(f"{path.name} holds no picture; give a video file.")
        while shown / FRAME_RATE <= last[0] + 1e-3:
            yield convert(last[1])
            shown += 1


def read_i420(path: Path) -> Iterator[Frame]:
    """Every picture of a video as I420, as stored. Raises BadMediaError as `read_rgb` does."""
    with opened(path) as (container, stream):
        for _, frame in decoded(container, stream):
            yield np.asarray(frame.reformat(format="yuv420p").to_ndarray(), dtype=np.uint8)


class VideoWriter:
    """An MP4 of I420 pictures at 25 a second, H.264, with AAC sound if asked for; a context manager.

    Written beside the target as `.part` and renamed on success, so nothing half-written stays.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        *,
        sound: bool = False,
        crf: int = 17,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Open `path` for pictures of `size` (width, height), both even. Raises BadMediaError.

        `metadata`: any keys with their texts, of the whole file.
        """
        self._path = path
        self._part = path.with_name(path.name + ".part")
        try:
            self._part.touch()
        except OSError as error:
            raise BadMediaError(
                f"{path} cannot be written ({error.strerror}); choose another place."
            ) from error
        movflags = f"faststart+{KEEP_METADATA}" if metadata else "faststart"
        self._container = av.open(str(self._part), "w", format="mp4", options={"movflags": movflags})
        self._container.metadata.update(metadata or {})
        self._video = self._container.add_stream("libx264", rate=FRAME_RATE)
        self._video.width, self._video.height = size
        self._video.pix_fmt = "yuv420p"
        self._video.options = {"crf": str(crf), "preset": "medium"}
        self._video.codec_context.colorspace = Colorspace.ITU601
        self._video.codec_context.color_range = ColorRange.MPEG
        self._audio = self._container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if sound else None
        self._pictures = 0
        self._samples = 0

    def write(self, picture: Frame) -> None:
        """Add one I420 picture."""
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = self._pictures
        frame.time_base = Fraction(1, FRAME_RATE)
        self._pictures += 1
        self._container.mux(self._video.encode(frame))

    def write_sound(self, samples: Samples) -> None:
        """Add float32 samples in [-1, 1] at 16 kHz."""
        if self._audio is None:
            raise ValueError("this video was opened without sound")
        frame = av.AudioFrame.from_ndarray(to_pcm16(samples)[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._samples
        frame.time_base = Fraction(1, SAMPLE_RATE)
        self._samples += samples.size
        self._container.mux(self._audio.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._video.encode(None))
            if self._audio is not None:
                self._container.mux(self._audio.encode(None))
        self._container.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
