"""Encoded packets into a container, without encoding again."""

import io
from collections.abc import Mapping
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO

import av
from av.container import OutputContainer

from engine.speech.audio import FRAME_RATE
from streaming.encoding.base import SOUND_CLOCK
from streaming.outlets.wire import Placed

_PICTURE_CLOCK = Fraction(1, FRAME_RATE)
_SOUND_CLOCK = Fraction(1, SOUND_CLOCK)


class Muxer:
    """H.264 (Annex B) and raw AAC into any container of FFmpeg; the header is written at once.

    FFmpeg makes avcC and length prefixes, or ADTS headers, where the container wants them. `file` is a file
    object or what FFmpeg opens by itself; `buffer_size` the bytes that a file object gets at most at a time.
    Raises av.FFmpegError, or what the file object raises.
    """

    def __init__(
        self,
        file: str | BinaryIO,
        container: str,
        options: Mapping[str, str],
        *,
        keyframe: bytes,
        audio_config: bytes,
        metadata: Mapping[str, str] | None = None,
        buffer_size: int = 32768,
    ) -> None:
        self._out: OutputContainer = av.open(
            file, "w", format=container, container_options=dict(options), buffer_size=buffer_size
        )
        self._out.metadata.update(metadata or {})
        self._streams = _sound_stream(self._out, audio_config), _picture_stream(self._out, keyframe)
        self._out.start_encoding()

    def write(self, packet: Placed) -> None:
        """Mux one packet."""
        stream = self._streams[packet.video]
        muxed: av.Packet[Any] = av.Packet(packet.data)
        muxed.pts = muxed.dts = packet.pts
        muxed.duration = packet.duration
        muxed.time_base = _PICTURE_CLOCK if packet.video else _SOUND_CLOCK
        muxed.is_keyframe = packet.keyframe
        muxed.stream = stream
        self._out.mux(muxed)

    def close(self) -> None:
        """Write what is left, and the trailer."""
        self._out.close()

    def __enter__(self) -> "Muxer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _picture_stream(out: OutputContainer, keyframe: bytes) -> Any:
    """A stream with the size and the parameter sets (Annex B) of a key frame."""
    with av.open(io.BytesIO(keyframe), format="h264") as template:
        stream: Any = out.add_stream_from_template(template.streams.video[0], opaque=True)
    stream.time_base = _PICTURE_CLOCK
    return stream


def _sound_stream(out: OutputContainer, audio_config: bytes) -> Any:
    # PyAV has no streams for ready packets with extradata of our own: the context of a stream that was made
    # from a template is never opened as an encoder, and gives its parameters to the container as they are.
    with av.open(io.BytesIO(), "w", format="mp4") as other:
        template: Any = other.add_stream("aac", rate=SOUND_CLOCK)
        stream: Any = out.add_stream_from_template(template, opaque=True)
    stream.codec_context.extradata = audio_config
    stream.codec_context.layout = "mono"
    stream.time_base = _SOUND_CLOCK
    return stream
