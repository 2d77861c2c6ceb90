"""A video's pictures as they are decoded: the right track, in time order, whole frames, past damage."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.filter import Graph
from av.filter.context import FilterContext
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.errors import BadMediaError, NoPictureError
from engine.speech.audio import FRAME_RATE

_MAX_GAP = 12 * 3600.0  # seconds; a larger step is a broken clock, not a pause
_CLOCK = 90_000
_THREADS = 4  # each holds a whole picture of its own


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open file and its picture track.

    Raises BadMediaError when the file is missing or no video, within the block too, and NoPictureError when
    it holds sound alone; the cover picture of a song counts as none.
    """
    if not path.is_file():
        raise BadMediaError(f"There is no video file at {path}; check the path.")
    try:
        with av.open(str(path)) as container:
            tracks = [
                stream
                for stream in container.streams.video
                if stream.codec_context and not stream.disposition & Disposition.attached_pic
            ]
            if not tracks:
                raise NoPictureError(f"{path.name} holds no picture; give a video file.")
            tracks[0].thread_type = "AUTO"
            tracks[0].codec_context.thread_count = min(os.cpu_count() or 1, _THREADS)
            yield container, tracks[0]
    except MemoryError:  # one of FFmpeg's errors too, and no fault of the file
        raise
    except av.error.FFmpegError as error:
        raise BadMediaError(
            f"{path.name} cannot be read as a video ({error.strerror}); give an MP4, MOV, MKV or WebM file."
        ) from error
    except OSError as error:
        raise BadMediaError(f"{path.name} cannot be read ({error.strerror}); check its rights.") from error


def rate_of(stream: VideoStream) -> float:
    """Pictures a second as the file tells them, 25 where it does not."""
    return float(stream.average_rate or stream.guessed_rate or FRAME_RATE)


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
    """Every picture with its time from the first one, in seconds, growing; interlaced ones made whole.

    Packets that are damaged are left out.
    """
    whole: _Deinterlacer | None = None
    for time, frame in timed(container, stream):
        if whole is None and frame.interlaced_frame:
            whole = _Deinterlacer(frame)
        if whole is None:
            yield time, frame
        else:
            yield from whole.push(time, frame)
    if whole is not None:
        yield from whole.flush()


def timed(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames in time order; where timestamps are missing or jump back, at the file's rate."""
    step = 1 / rate_of(stream)
    zero: float | None = None
    last = -step
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            clock = frame.time
            if clock is None:
                time = last + step
            else:
                time = 0.0 if zero is None else clock - zero
                if not last < time < last + _MAX_GAP:
                    time = last + step
                zero = clock - time
            last = time
            yield time, frame


class _Deinterlacer:
    """FFmpeg's yadif over the frames that are marked as interlaced, one whole picture for two fields."""

    def __init__(self, first: av.VideoFrame) -> None:
        graph = Graph()
        self._in: FilterContext = graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=Fraction(1, _CLOCK)
        )
        yadif = graph.add("yadif", "mode=send_frame:deint=interlaced")
        self._out: FilterContext = graph.add("buffersink")
        self._in.link_to(yadif)
        yadif.link_to(self._out)
        graph.configure()
        self._graph = graph  # keeps both ends alive

    def push(self, time: float, frame: av.VideoFrame) -> Iterator[tuple[float, av.VideoFrame]]:
        """Add a frame; the whole pictures that are ready."""
        frame.pts, frame.time_base = round(time * _CLOCK), Fraction(1, _CLOCK)
        self._in.push(frame)
        yield from self._ready()

    def flush(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """The rest."""
        self._in.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[tuple[float, av.VideoFrame]]:
        while True:
            try:
                frame = self._out.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            yield frame.time or 0.0, frame
